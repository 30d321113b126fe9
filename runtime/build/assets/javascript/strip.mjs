// Takes the types out of a staged project's TypeScript: node strip.mjs <directory>.
// Types become blanks, so that every line and column stays where the author wrote it.

import { readFile, readdir, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { argv, exit, stderr } from "node:process";
import { transformSync } from "amaro";

const [root] = argv.slice(2);
for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
  const file = join(entry.parentPath ?? entry.path, entry.name);
  if (!entry.isFile() || !/\.m?ts$/.test(entry.name)) continue;
  try {
    const { code } = transformSync(await readFile(file, "utf8"), { mode: "strip-only" });
    await writeFile(file, code);
  } catch (error) {
    const line = error.startLine ?? 1;
    stderr.write(`${relative(root, file)}:${line}: ${error.message ?? error}\n${error.snippet ?? ""}`);
    exit(1);
  }
}
