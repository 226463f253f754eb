// The TypeScript SDK's client in one era: lists the tools, calls some, prints what it saw as JSON.
//
//     node client.mjs URL KEY ERA '[["tool", {"argument": 1}], ...]'
//
// ERA is `legacy`, `auto` or `modern`.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [url, key, era, wanted] = process.argv.slice(2);
const modes = {
  legacy: { mode: "legacy" },
  auto: { mode: "auto" },
  modern: { mode: { pin: "2026-07-28" } },
};

const client = new Client(
  { name: "uaol-conformance", version: "1.0.0" },
  { versionNegotiation: modes[era] },
);
const transport = new StreamableHTTPClientTransport(new URL(url), {
  requestInit: { headers: { Authorization: `Bearer ${key}` } },
});

await client.connect(transport);
const names = [];
let cursor;
do {
  const page = await client.listTools(cursor ? { cursor } : {});
  names.push(...page.tools.map((tool) => tool.name));
  cursor = page.nextCursor;
} while (cursor);

const results = [];
for (const [name, args] of JSON.parse(wanted)) {
  results.push(await client.callTool({ name, arguments: args }));
}
await client.close();
console.log(JSON.stringify({ names, results }));
