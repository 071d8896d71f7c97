// Validates an AsyncAPI document: node validate.mjs FOLDER-OF-NODE_MODULES DOCUMENT. Exit 1 where it is not valid.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [folder, path] = process.argv.slice(2);
const { Parser } = createRequire(resolve(folder, "package.json"))("@asyncapi/parser");
const { document, diagnostics } = await new Parser().parse(await readFile(path, "utf8"), { source: path });
const words = ["error", "warning", "information", "hint"];
for (const { severity, path: at, message } of diagnostics) console.log(`${words[severity]}: ${at.join(".")}: ${message}`);
if (!document) process.exit(1);
console.log(`${path}: valid AsyncAPI ${document.version()}`);
