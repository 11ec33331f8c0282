import * as vscode from 'vscode';
import type { Client } from '../client';
import type { Proposals } from '../diff/proposals';
import type { Pages } from '../tools/pages';
import { AnswerView } from './answer';
import { type Argument, ask, type Verb, wasCancelled } from './request';

interface Command {
  verb: Verb;
  title: string;
  /** What is asked of the user first. */
  prompt?: string;
}

const commands: Command[] = [
  { verb: 'explain', title: 'Explain' },
  { verb: 'refactor', title: 'Refactor', prompt: 'What to change, such as “use a dictionary”' },
  { verb: 'fix', title: 'Fix' },
  { verb: 'document', title: 'Document' },
  { verb: 'review', title: 'Review' },
];

function isArgument(value: unknown): value is Argument {
  const given = value as Partial<Argument> | null | undefined; // from a code action, or a keybinding
  return typeof given?.textDocument?.uri === 'string' && typeof given.range?.start.line === 'number';
}

/** The argument for the active editor's selection; problems in it go along to `fix`. */
async function fromEditor(client: Client, verb: Verb): Promise<Argument | undefined> {
  const editor = vscode.window.activeTextEditor;
  const converter = client.running?.code2ProtocolConverter;
  if (!editor || !converter) return undefined;
  const { document, selection } = editor;
  const argument: Argument = {
    textDocument: { uri: converter.asUri(document.uri), version: document.version },
    range: converter.asRange(selection),
  };
  if (verb === 'fix') {
    const lines = new vscode.Range(selection.start.line, 0, selection.end.line + 1, 0);
    const touching = vscode.languages.getDiagnostics(document.uri).filter(({ range }) => range.intersection(lines));
    if (touching.length > 0) argument.diagnostics = await converter.asDiagnostics(touching);
  }
  return argument;
}

async function run(command: Command, given: unknown, client: Client, proposals: Proposals, pages: Pages): Promise<void> {
  const running = client.running;
  if (!running) throw new Error('it is not running; the status bar says why.');
  const argument = isArgument(given) ? given : await fromEditor(client, command.verb);
  const uri = argument && running.protocol2CodeConverter.asUri(argument.textDocument.uri);
  const document = uri && vscode.workspace.textDocuments.find((open) => open.uri.toString() === uri.toString());
  if (!document || !client.follows(document)) {
    throw new Error('this needs an open file, of a language that fimd is switched on for.');
  }
  argument.textDocument.version ??= document.version;
  if (command.prompt !== undefined && argument.instruction === undefined) {
    const instruction = await vscode.window.showInputBox({ title: `fimd: ${command.title}`, prompt: command.prompt });
    if (instruction === undefined || instruction.trim() === '') return;
    argument.instruction = instruction;
  }

  const longAnswer = command.verb === 'explain' || command.verb === 'review';
  const view = longAnswer ? new AnswerView(pages, command.title, document.uri) : undefined;
  const answer = await vscode.window.withProgress(
    { location: vscode.ProgressLocation.Notification, title: `fimd: ${command.title}`, cancellable: true },
    async (progress, token) => {
      try {
        return await ask(
          client,
          command.verb,
          argument,
          (text) => {
            view?.update(text);
            progress.report({ message: text === '' ? 'reading' : `${text.length} characters` });
          },
          token,
        );
      } catch (error) {
        view?.fail(wasCancelled(error) ? 'Cancelled.' : messageOf(error));
        throw error;
      }
    },
  );
  if (answer.kind === 'markdown') {
    const note = answer.truncated === true ? '\n\n*The answer reached its longest length.*' : '';
    await view?.finish(answer.text + note);
    return;
  }
  if (answer.textDocument.version !== document.version) {
    throw new Error('the file changed while the answer was written. Ask again.');
  }
  const range = running.protocol2CodeConverter.asRange(answer.range);
  if (!(await proposals.show(document, { title: answer.title, range, newText: answer.newText }))) {
    void vscode.window.showInformationMessage('fimd: nothing to change.');
  }
}

async function tell(error: unknown, client: Client): Promise<void> {
  // A model that cannot chat is the likeliest reason; the message says whether it is.
  const choose = 'Choose the Model…';
  const actions = client.status.canChat === false ? [choose] : [];
  const chosen = await vscode.window.showErrorMessage(`fimd: ${messageOf(error)}`, ...actions);
  if (chosen === choose) await vscode.commands.executeCommand('fimd.pickModel');
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Explain, refactor, fix, document and review: from the palette, the context menu and code actions. */
export function activate(
  context: vscode.ExtensionContext,
  client: Client,
  proposals: Proposals,
  pages: Pages,
): void {
  for (const command of commands) {
    context.subscriptions.push(
      vscode.commands.registerCommand(`fimd.${command.verb}`, async (given: unknown) => {
        try {
          await run(command, given, client, proposals, pages);
        } catch (error) {
          if (!wasCancelled(error)) await tell(error, client);
        }
      }),
    );
  }
}
