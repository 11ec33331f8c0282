// Finds the fimd program: as set, with the extension, on the PATH, in the usual places.
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import * as path from 'node:path';

export interface Surroundings {
  /** The setting fimd.path. */
  setting: string;
  /** The folder of this extension. */
  extension: string;
  /** The environment's PATH. */
  pathVariable: string;
  home: string;
}

export interface Place {
  path: string;
  why: string;
}

const program = process.platform === 'win32' ? 'fimd.exe' : 'fimd';

function expandHome(text: string, home: string): string {
  return text === '~' || text.startsWith('~/') ? path.join(home, text.slice(1)) : text;
}

function onPath(name: string, variable: string): Place[] {
  return variable
    .split(path.delimiter)
    .filter((folder) => path.isAbsolute(folder)) // not what a workspace puts into '.'
    .map((folder) => ({ path: path.join(folder, name), why: 'the PATH' }));
}

/** Where the program may be, best first. What is set counts alone. */
export function places(around: Surroundings): Place[] {
  const setting = around.setting.trim();
  if (setting !== '') {
    const expanded = expandHome(setting, around.home);
    if (path.isAbsolute(expanded)) return [{ path: expanded, why: 'the setting fimd.path' }];
    if (!/[/\\]/.test(expanded)) return onPath(expanded, around.pathVariable);
    return []; // relative to what?
  }
  return [
    { path: path.join(around.extension, 'bin', program), why: 'part of the extension' },
    ...onPath(program, around.pathVariable),
    ...[
      path.join(around.home, '.local/bin'),
      '/usr/local/bin',
      '/usr/bin',
      '/opt/fimd/bin',
      '/opt/homebrew/bin',
    ].map((folder) => ({ path: path.join(folder, program), why: 'a usual place' })),
  ];
}

async function isProgram(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK);
    return (await stat(file)).isFile();
  } catch {
    return false;
  }
}

export async function findProgram(around: Surroundings): Promise<Place | undefined> {
  for (const place of places(around)) {
    if (await isProgram(place.path)) return place;
  }
  return undefined;
}

/** Says why there is no program, and what to do. */
export function missingMessage(around: Surroundings): string {
  const setting = around.setting.trim();
  if (setting !== '') {
    return `"${setting}" (setting fimd.path) is not a program. Give an absolute path, or empty the setting.`;
  }
  const windows = process.platform === 'win32' ? ' On Windows, open the folder in WSL.' : '';
  return `The program fimd was not found on the PATH or in the usual places. Install it, or choose where it is.${windows}`;
}
