// A folder of its own for a test, and what is in it.
import { lstat, mkdtemp, readFile, readdir, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export class Folder {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** Opens one in which these files are. */
  static async open(files: Readonly<Record<string, string>> = {}, parent = tmpdir()): Promise<Folder> {
    const folder = new Folder(await realpath(await mkdtemp(join(parent, 'unanimous-files-'))));
    for (const [name, content] of Object.entries(files)) await writeFile(folder.join(name), content);
    return folder;
  }

  join(...names: string[]): string {
    return join(this.path, ...names);
  }

  /** All files by their paths in it, staged ones too; folders have no content. */
  async content(): Promise<Record<string, string | undefined>> {
    const names = await readdir(this.path, { recursive: true, encoding: 'utf8' });
    const content: Record<string, string | undefined> = {};
    for (const name of names.toSorted()) {
      const isFile = (await lstat(this.join(name))).isFile();
      content[name] = isFile ? await readFile(this.join(name), 'utf8') : undefined;
    }
    return content;
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}
