// Everything that is asked of the server, and what it says when it does not do it.

let page = null;

export class Refused extends Error {
  constructor(text, status = 0) {
    super(text);
    this.status = status; // of the answer; 0: there was none
  }
}

async function answer(response) {
  if (response.ok) return response;
  let text = `The studio answered ${response.status}.`;
  const type = response.headers.get("content-type") || "";
  if (type.includes("json")) {
    const said = await response.json();
    text = sentence(said.error, said.cure);
  } else if (type.includes("text/plain")) text = await response.text();
  throw new Refused(text, response.status);
}

function sentence(error, cure) {
  const start = (part) => part.charAt(0).toUpperCase() + part.slice(1);
  return `${start(error)}. ${start(cure)}.`;
}

async function send(address, options) {
  try {
    return await answer(await fetch(address, options));
  } catch (error) {
    if (error instanceof Refused) throw error;
    throw new Refused("The studio does not answer. Is it still running? See its terminal.");
  }
}

export async function get(address) {
  return (await send(address)).json();
}

export async function post(address, data) {
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(data || {}) };
  return (await send(address, options)).json();
}

export async function upload(address, file) {
  const separator = address.includes("?") ? "&" : "?";
  const target = `${address}${separator}name=${encodeURIComponent(file.name || "picture")}`;
  return (await send(target, { method: "POST", headers: { "content-type": "application/octet-stream" }, body: file })).json();
}

// Addresses of what belongs to this page alone.
export const own = (rest) => `/api/pages/${page}/${rest}`;
export const imageAddress = (id, what) => `/api/images/${encodeURIComponent(id)}/${what}.png`;

export async function openPage() {
  page = (await post("/api/pages")).page;
  setInterval(() => { fetch(own("alive"), { method: "POST" }).catch(() => {}); }, 30000);
  addEventListener("pagehide", () => navigator.sendBeacon(own("close")));
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); }); // what it had is deleted
}

// Follow a ticket until it is finished; `tell` gets each of its states.
export async function follow(ticket, tell) {
  for (;;) {
    tell(ticket);
    if (ticket.state === "done" || ticket.state === "stopped") return ticket;
    if (ticket.state === "failed") throw new Refused(ticket.error);
    await new Promise((resume) => setTimeout(resume, 200));
    ticket = await get(own(`tickets/${ticket.id}`));
  }
}

export function waitingNote(ticket) {
  if (ticket.state === "waiting") return ticket.ahead ? `waiting, ${ticket.ahead} before you` : "starting";
  return ticket.note;
}
