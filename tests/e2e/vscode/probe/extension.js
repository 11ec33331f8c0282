// Runs in VS Code's extension host beside the extension under test. Tells the tests, over a Unix socket,
// what the editor's documents hold and in which steps they changed, and opens files and sets settings.
// Whatever a user would do with keys or mouse the tests do in the browser, not here.
'use strict';

const net = require('node:net');
const vscode = require('vscode');

/** The changes of each document, in order: {at, removed, text} in UTF-16 units, reduced to what differs. */
const journals = new Map();
const texts = new Map();

function remember(document) {
  texts.set(document.uri.toString(), document.getText());
}

/** Leaves out what a replacement keeps: accepting a suggestion may replace the word that it completes. */
function reduced(removed, text, at) {
  let first = 0;
  while (first < removed.length && first < text.length && removed[first] === text[first]) ++first;
  let last = 0;
  while (
    last < removed.length - first &&
    last < text.length - first &&
    removed.at(-1 - last) === text.at(-1 - last)
  ) {
    ++last;
  }
  return {
    at: at + first,
    removed: removed.slice(first, removed.length - last),
    text: text.slice(first, text.length - last),
  };
}

function record(event) {
  const key = event.document.uri.toString();
  const before = texts.get(key) ?? '';
  const journal = journals.get(key) ?? [];
  journals.set(key, journal);
  for (const change of event.contentChanges) {
    const removed = before.slice(change.rangeOffset, change.rangeOffset + change.rangeLength);
    const step = reduced(removed, change.text, change.rangeOffset);
    if (step.removed || step.text) journal.push({ ...step, reason: event.reason });
  }
  remember(event.document);
}

function document(path) {
  return vscode.workspace.textDocuments.find((d) => d.uri.scheme === 'file' && d.fileName === path);
}

const methods = {
  /** What the active editor shows. */
  state() {
    const editor = vscode.window.activeTextEditor;
    if (!editor) return null;
    return {
      path: editor.document.fileName,
      scheme: editor.document.uri.scheme,
      language: editor.document.languageId,
      version: editor.document.version,
      dirty: editor.document.isDirty,
      text: editor.document.getText(),
      selections: editor.selections.map((s) => ({
        anchor: editor.document.offsetAt(s.anchor),
        active: editor.document.offsetAt(s.active),
      })),
    };
  },
  text: ({ path }) => document(path)?.getText() ?? null,
  journal: ({ path }) => journals.get(vscode.Uri.file(path).toString()) ?? [],
  forget({ path }) {
    journals.delete(vscode.Uri.file(path).toString());
    return null;
  },
  async open({ path, at }) {
    const opened = await vscode.workspace.openTextDocument(vscode.Uri.file(path));
    const editor = await vscode.window.showTextDocument(opened, { preview: false });
    if (at !== undefined) {
      const position = opened.positionAt(at);
      editor.selection = new vscode.Selection(position, position);
      editor.revealRange(editor.selection);
    }
    return null;
  },
  async configure({ settings }) {
    const configuration = vscode.workspace.getConfiguration();
    for (const [name, value] of Object.entries(settings)) {
      await configuration.update(name, value ?? undefined, vscode.ConfigurationTarget.Global);
    }
    return null;
  },
  setting: ({ name, path }) =>
    vscode.workspace
      .getConfiguration(undefined, path ? vscode.Uri.file(path) : null)
      .inspect(name) ?? null,
  async command({ id, args }) {
    const value = await vscode.commands.executeCommand(id, ...(args ?? []));
    return value === undefined ? null : JSON.parse(JSON.stringify(value));
  },
  commands: async () => vscode.commands.getCommands(true),
  /** Keeps the process of all extensions from doing anything else. */
  busy({ ms }) {
    const end = Date.now() + ms;
    while (Date.now() < end);
    return null;
  },
  extension({ id }) {
    const extension = vscode.extensions.getExtension(id);
    return extension ? { active: extension.isActive, package: extension.packageJSON } : null;
  },
  /** The titles of the code actions at a place. */
  async actions({ path, begin, end }) {
    const range = new vscode.Range(document(path).positionAt(begin), document(path).positionAt(end));
    const actions = await vscode.commands.executeCommand(
      'vscode.executeCodeActionProvider', vscode.Uri.file(path), range);
    return actions.map((a) => ({ title: a.title, kind: a.kind?.value }));
  },
};

async function answer(line) {
  const { id, method, params } = JSON.parse(line);
  try {
    return { id, result: await methods[method](params ?? {}) };
  } catch (error) {
    return { id, error: String(error?.stack ?? error) };
  }
}

function activate(context) {
  vscode.workspace.textDocuments.forEach(remember);
  context.subscriptions.push(
    vscode.workspace.onDidOpenTextDocument(remember),
    vscode.workspace.onDidChangeTextDocument(record),
  );
  const server = net.createServer((socket) => {
    let buffered = '';
    socket.setEncoding('utf8');
    socket.on('data', (data) => {
      const lines = (buffered + data).split('\n');
      buffered = lines.pop();
      for (const line of lines) {
        answer(line).then((reply) => socket.write(JSON.stringify(reply) + '\n'));
      }
    });
    socket.on('error', () => socket.destroy());
  });
  server.listen(process.env.FIMD_PROBE_SOCKET);
  context.subscriptions.push({ dispose: () => server.close() });
}

module.exports = { activate };
