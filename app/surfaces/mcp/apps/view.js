"use strict";
// The view's end of MCP Apps: JSON-RPC with the host over postMessage. Text that comes from
// anywhere becomes text nodes or elements of a short list; nothing is ever parsed into the page.
(() => {
  const SHOWN = new Set(["H1", "H2", "H3", "H4", "P", "UL", "OL", "LI", "TABLE", "THEAD", "TBODY",
    "TR", "TH", "TD", "STRONG", "EM", "CODE", "PRE", "BLOCKQUOTE", "HR", "BR", "IMG"]);
  const POLL_MS = 2000;
  const waiting = new Map();
  let last = 0;

  const post = (message) => window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
  const notify = (method, params) => post({ method, params });
  const ask = (method, params) => new Promise((resolve, reject) => {
    const id = ++last;
    waiting.set(id, { resolve, reject });
    post({ id, method, params });
  });

  const element = (name, text, children = []) => {
    const made = document.createElement(name);
    if (text !== null) made.textContent = text;
    made.append(...children);
    return made;
  };

  const credits = (micro) => `${micro / 1e6} credits`;

  // As the server draws it; see `_summary` in page.py.
  const summary = (job) => {
    const rows = [["Run", job.job_id]];
    if (typeof job.charged_micro === "number") rows.push(["Cost", credits(job.charged_micro)]);
    if (job.error) {
      rows.push(["Error", `${job.error.code}: ${job.error.message}`]);
      if (job.error.hint) rows.push(["What to do", job.error.hint]);
    }
    for (const file of job.files || []) rows.push(["File", `${file.name} (${file.size} bytes)`]);
    const state = element("span", job.status);
    state.className = "state";
    state.dataset.state = job.status;
    const head = element("h1", `${job.template || job.tool || job.kind} `, [state]);
    const list = element("dl", null, rows.flatMap(
      ([name, text]) => [element("dt", name), element("dd", String(text))]));
    document.getElementById("job").replaceChildren(head, list);
  };

  // A copy of a parsed page's nodes: elements of the list, their texts, pictures held in data.
  const copied = (node) => {
    if (node.nodeType === Node.TEXT_NODE) return [document.createTextNode(node.data)];
    const inner = [...node.childNodes].flatMap(copied);
    if (node.nodeType !== Node.ELEMENT_NODE) return [];
    if (!SHOWN.has(node.tagName)) return inner;
    const made = document.createElement(node.tagName);
    const source = node.getAttribute("src") || "";
    if (node.tagName === "IMG" && source.startsWith("data:image/")) {
      made.setAttribute("src", source);
      made.setAttribute("alt", node.getAttribute("alt") || "");
    }
    made.append(...inner);
    return [made];
  };

  const read = async (uri) => (await ask("resources/read", { uri })).contents[0].text;

  const report = async (job) => {
    const target = document.getElementById("report");
    try {
      const page = new DOMParser().parseFromString(
        await read(`ui://uaol/job/${job.job_id}`), "text/html");
      target.replaceChildren(...[...page.getElementById("report").childNodes].flatMap(copied));
    } catch {
      // The host passes no reads on: what the tool answered is all there is.
    }
    if (!target.hasChildNodes() && job.final_output) {
      target.replaceChildren(element("pre", JSON.stringify(job.final_output, null, 2)));
    }
  };

  const show = async (job) => {
    summary(job);
    if (job.is_terminal) {
      await report(job);
    } else {
      setTimeout(() => again(job), POLL_MS);
    }
    const { scrollWidth: width, scrollHeight: height } = document.documentElement;
    notify("ui/notifications/size-changed", { width, height });
  };

  const again = async (job) => {
    try {
      await show(JSON.parse(await read(`uaol://jobs/${job.job_id}`)));
    } catch {
      // As it stood is as much as this host lets the page know.
    }
  };

  const told = (message) => {
    if (message.method === "ui/notifications/tool-result") {
      const job = message.params && message.params.structuredContent;
      if (job && job.job_id) show(job);
    } else if (message.method === "ui/resource-teardown" || message.method === "ping") {
      post({ id: message.id, result: {} });
    } else if (message.id !== undefined) {
      post({ id: message.id, error: { code: -32601, message: "Method not found" } });
    }
  };

  window.addEventListener("message", (event) => {
    const message = event.data;
    if (event.source !== window.parent || !message || message.jsonrpc !== "2.0") return;
    if (message.method) return told(message);
    const asked = waiting.get(message.id);
    waiting.delete(message.id);
    if (asked && message.error) asked.reject(new Error(message.error.message));
    else if (asked) asked.resolve(message.result);
  });

  if (window.parent !== window) {
    ask("ui/initialize", {
      protocolVersion: "2026-01-26",
      appInfo: { name: "uaol-job", version: "1" },
      appCapabilities: {},
    }).then(() => notify("ui/notifications/initialized", {}), () => {});
  }
})();
