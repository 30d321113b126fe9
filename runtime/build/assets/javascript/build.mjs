// Turns a staged project into a component: node build.mjs <entry.js> <wit directory> <output>.

import { writeFile } from "node:fs/promises";
import { argv } from "node:process";
import { componentize } from "@bytecodealliance/componentize-js";

const [sourcePath, witPath, output] = argv.slice(2);
const { component } = await componentize({
  sourcePath,
  witPath,
  worldName: "transform",
  disableFeatures: ["stdio", "random", "clocks", "http", "fetch-event"],
});
await writeFile(output, component);
