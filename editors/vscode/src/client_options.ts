// How the language client is set up: what is sent to the daemon, and what this extension does itself.
import type * as vscode from 'vscode';
import {
  type ClientCapabilities,
  CloseAction,
  ErrorAction,
  type LanguageClientOptions,
  RevealOutputChannelOn,
  type ServerCapabilities,
  type StaticFeature,
} from 'vscode-languageclient/node';
import { daemonSettings, isEnabled } from './settings';

/** What documents fimd is for: files, new files and cells of notebooks; not output or diffs. */
export const documentSelector = [
  { scheme: 'file' },
  { scheme: 'untitled' },
  { scheme: 'vscode-notebook-cell' },
];

/** What this extension does itself instead of the library, as client and server tell each other. */
export const ownFeatures: StaticFeature = {
  fillClientCapabilities(capabilities: ClientCapabilities) {
    capabilities.textDocument ??= {};
    capabilities.textDocument.inlineCompletion = { dynamicRegistration: false };
    capabilities.window = { ...capabilities.window, workDoneProgress: false }; // the status bar has it
    const workspace = (capabilities.workspace ??= {});
    workspace.didChangeConfiguration = { dynamicRegistration: false };
    capabilities.experimental = { fimdStatus: true, fimdCommands: true };
  },
  preInitialize(capabilities: ServerCapabilities) {
    delete capabilities.inlineCompletionProvider;
    delete capabilities.executeCommandProvider;
  },
  initialize() {
    // Nothing to register.
  },
  getState() {
    return { kind: 'static' };
  },
  clear() {
    // Nothing is kept.
  },
};

/** `synced` has the documents that the daemon was told of, by URI. */
export function clientOptions(log: vscode.LogOutputChannel, synced: Set<string>): LanguageClientOptions {
  return {
    documentSelector,
    outputChannel: log,
    revealOutputChannelOn: RevealOutputChannelOn.Never,
    initializationOptions: daemonSettings,
    initializationFailedHandler: () => false,
    stdioOptions: {
      stdout: () => {
        // It carries the protocol.
      },
      stderr: (input) => {
        input.setEncoding('utf8').on('data', (text: string) => log.info(text.trimEnd()));
      },
    },
    errorHandler: {
      error: () => ({ action: ErrorAction.Continue, handled: true }),
      closed: () => ({ action: CloseAction.DoNotRestart, handled: true }),
    },
    middleware: {
      didOpen: async (document, next) => {
        if (!isEnabled(document)) return;
        synced.add(document.uri.toString());
        await next(document);
      },
      didChange: async (event, next) => {
        if (synced.has(event.document.uri.toString())) await next(event);
      },
      didSave: async (document, next) => {
        if (synced.has(document.uri.toString())) await next(document);
      },
      didClose: async (document, next) => {
        if (synced.delete(document.uri.toString())) await next(document);
      },
      workspace: {
        configuration: (params) => params.items.map(() => daemonSettings()),
      },
    },
  };
}
