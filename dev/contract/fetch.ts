// The main job with openapi-fetch: what a front end and a tool write against the types of
// openapi-typescript, and no type of their own.
import createClient from "openapi-fetch";
import type { components, paths } from "./build/fetch.js";

type Hint = components["schemas"]["messagerie.messaging.v1.WatchConversationsResponse"];
type Status = components["schemas"]["google.rpc.Status"];

/** reasonOf is what a program compares. */
function reasonOf(error: Status): string {
  for (const detail of error.details ?? []) {
    if (detail["@type"] === "type.googleapis.com/google.rpc.ErrorInfo") return detail.reason;
  }
  return "";
}

/** taken is an answer's content, or the reason why there is none. */
async function taken<T>(asked: Promise<{ data?: T; error?: Status }>): Promise<T> {
  const { data, error } = await asked;
  if (error) throw new Error(`${reasonOf(error)}: ${error.message}`);
  if (data === undefined) throw new Error("an answer without content");
  return data;
}

/** mainJob returns the texts of all that the member has, once an agent has answered. */
export async function mainJob(baseUrl: string, member: string, agent: string): Promise<string[]> {
  const jeanne = createClient<paths, "application/json">({ baseUrl, headers: { Authorization: `Bearer ${member}` } });
  const claire = createClient<paths, "application/json">({ baseUrl, headers: { Authorization: `Bearer ${agent}` } });
  const key = () => ({ "Idempotency-Key": crypto.randomUUID() });

  const taxonomy = await taken(jeanne.GET("/v1/taxonomy", { params: { query: { audience: "PARTICULIER" } } }));
  const theme = taxonomy.themes.find((offered) => offered.topics.some((topic) => topic.reasons.length > 0));
  const topic = theme?.topics.find((offered) => offered.reasons.length > 0);
  const reason = topic?.reasons[0];
  if (!theme || !topic || !reason) throw new Error("nothing to choose from");
  const submitted = await taken(jeanne.POST("/v1/conversations", {
    params: { header: key() },
    body: {
      audience: "PARTICULIER", theme: theme.code, topic: topic.code, reason: reason.code,
      taxonomyVersion: taxonomy.version, text: "Bonjour, je n'ai pas reçu mon paiement.",
    },
  }));
  const path = { id: submitted.conversation.id };
  const days: number = submitted.expectedDelay?.workingDays ?? 0;

  await taken(jeanne.POST("/v1/conversations/{id}:followUp", { params: { path, header: key() }, body: { text: "Voici un complément." } }));
  const { conversation: read } = await taken(claire.POST("/v1/agent/conversations/{id}:claim", { params: { path } }));
  await taken(claire.POST("/v1/agent/conversations/{id}:reply", {
    params: { path, header: key() }, body: { text: "Il part demain.", final: true, lastMessageId: read.lastMessageId },
  }));

  const { preferences } = await taken(jeanne.GET("/v1/me/preferences"));
  await taken(jeanne.PUT("/v1/me/preferences", { body: { preferences } }));
  const exported = await taken(jeanne.GET("/v1/me/export"));

  const watch = await jeanne.GET("/v1/conversations:watch", { parseAs: "stream" });
  for await (const hint of events<Hint>(watch.data)) {
    if (hint.unreadCount > 0) break;
  }
  return [`${submitted.conversation.reference}, ${days} days`, ...exported.conversations.flatMap((c) => c.messages.map((m) => m.text))];
}

/** events reads a stream of server-sent events. */
async function* events<T>(stream: ReadableStream<Uint8Array> | null | undefined): AsyncGenerator<T> {
  let rest = "";
  const decoder = new TextDecoder();
  const reader = stream?.getReader();
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    rest += decoder.decode(part.value, { stream: true });
    const blocks = rest.split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const data = block.split("\n").find((line) => line.startsWith("data: "));
      if (data) yield JSON.parse(data.slice(6)) as T;
    }
  }
}
