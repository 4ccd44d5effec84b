// Shows the screen that the websocket of this API leads to which the address names in "path", as noVNC's own pages do.
const say = (text) => { document.getElementById("status").textContent = text; };

const path = new URLSearchParams(location.search).get("path") ?? "";
const address = new URL("/" + path, location.href);
address.protocol = location.protocol.replace("http", "ws");
// The token opens one session: it need not stay where it can be read.
history.replaceState(null, "", location.pathname);

try {
  if (path === "") {
    throw new Error("its address opens it once, and has been used: ask for another");
  }
  if (address.host !== location.host) {
    throw new Error("the address leads elsewhere");
  }
  const { default: RFB } = await import("./novnc/core/rfb.js");
  const socket = new WebSocket(address, ["binary"]);
  socket.addEventListener("close", (event) => say(event.reason || (event.wasClean ? "The console is closed." : "The connection to the console broke.")));
  const screen = new RFB(document.getElementById("screen"), socket);
  screen.scaleViewport = true;
  screen.addEventListener("connect", () => { say(""); screen.focus(); });
} catch (error) {
  say(`The console cannot be shown: ${error.message}.`);
}
