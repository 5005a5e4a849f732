// A sandbox in Deno: CPython compiled to WebAssembly (Pyodide), loaded from a folder, without any permission once loaded.
//
//     deno run --allow-read=HERE,FOLDER ... pyodide.mjs FOLDER HERE
//
// It speaks the protocol of worker.py, on standard input and output, and blocks while it waits: nothing else happens here.

import { createRequire } from "node:module";

const [folder, here] = Deno.args;
globalThis.require = createRequire(`file://${folder}/`);
globalThis.__dirname = folder;
const { loadPyodide } = await import(`file://${folder}/pyodide.mjs`);
const python = await loadPyodide({ indexURL: `${folder}/` });
const source = Deno.readTextFileSync(`${here}/namespace.py`);
await Deno.permissions.revoke({ name: "read" });

const encoder = new TextEncoder(), decoder = new TextDecoder();
const buffer = new Uint8Array(1 << 18);
let rest = [];

function receive() {
  while (true) {
    const last = rest.length ? rest[rest.length - 1] : "";
    const end = last.indexOf("\n");
    if (end >= 0) {
      const line = rest.slice(0, -1).join("") + last.slice(0, end);
      rest = end + 1 < last.length ? [last.slice(end + 1)] : [];
      return line;
    }
    const count = Deno.stdin.readSync(buffer);
    if (count === null) Deno.exit(0);
    rest.push(decoder.decode(buffer.subarray(0, count), { stream: true }));
  }
}

function send(line) {
  let data = encoder.encode(line + "\n");
  while (data.length) data = data.subarray(Deno.stdout.writeSync(data));
}

python.registerJsModule("_host", { receive, send });
python.globals.set("_source", source);
python.runPython(`
def serve(source):
    import itertools, json, types
    from _host import receive, send

    module = types.ModuleType("namespace")
    exec(compile(source, "<namespace>", "exec"), module.__dict__)
    numbers = itertools.count()

    def put(message):
        send(json.dumps(message, separators=(",", ":")))

    def ask(name, args, kwargs):
        put({"type": "tool", "id": next(numbers), "name": name, "args": args, "kwargs": kwargs})
        message = json.loads(receive())
        if message["type"] == "tool_error":
            raise RuntimeError(message["error"])
        return message["value"]

    namespace = module.Namespace(ask)
    put({"type": "ready", "missing": {}})
    while True:
        put(namespace.run(json.loads(receive())))

serve(globals().pop("_source"))
`);
