"use strict";

const [messages, form, name, text, send, state] = ["messages", "form", "name", "text", "send", "state"].map((id) =>
  document.getElementById(id),
);

// The service restarts (RFC 6455, 7.4.1): nginx was reloaded, and new workers are there already.
const SERVICE_RESTART = 1012;

const address = new URL("talk", document.baseURI);
address.protocol = address.protocol.replace("http", "ws");

let socket;
let failures = 0;

function connect() {
  socket = new WebSocket(address);
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if ("worker" in message) {
      failures = 0;
      send.disabled = false;
      state.textContent = `connected to nginx worker ${message.worker}`;
    } else {
      show(message);
    }
  };
  socket.onclose = (event) => {
    send.disabled = true;
    state.textContent = "connecting again";
    // All pages lose their connection at once; they come back one after another.
    const seconds = event.code === SERVICE_RESTART ? 0 : Math.min(2 ** failures, 30);
    failures += 1;
    setTimeout(connect, 1000 * seconds + 500 * Math.random());
  };
}

function show(message) {
  const item = document.createElement("li");
  const author = document.createElement("b");
  author.textContent = message.name;
  item.append(author, " ", message.text);
  messages.append(item);
  item.scrollIntoView({ block: "nearest" });
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  socket.send(JSON.stringify({ name: name.value, text: text.value }));
  text.value = "";
  text.focus();
});

name.value = `guest ${Math.floor(1000 * Math.random())}`;
connect();
