// Runs the main job of one of the clients: node run.js fetch|hey, against GATEWAY, as the
// holders of MEMBER_TOKEN and AGENT_TOKEN.
import { mainJob as withFetch } from "./fetch.js";
import { mainJob as withHey } from "./hey.js";

function given(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

const job = process.argv[2] === "hey" ? withHey : withFetch;
for (const text of await job(given("GATEWAY"), given("MEMBER_TOKEN"), given("AGENT_TOKEN"))) console.log(text);
process.exit(0); // the watch is left open
