// Where in which text a suggestion is asked for.
import type * as vscode from 'vscode';

export interface Place {
  uri: string;
  version: number;
  position: vscode.Position;
}

export function placeIn(document: vscode.TextDocument, position: vscode.Position): Place {
  return { uri: document.uri.toString(), version: document.version, position };
}

export function isSamePlace(a: Place, b: Place): boolean {
  return a.uri === b.uri && a.version === b.version && a.position.isEqual(b.position);
}
