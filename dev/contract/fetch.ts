// The main job with openapi-fetch: what a front end and a tool write against the types of
// openapi-typescript, and no type of their own. It is compiled, and never run.
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

export async function mainJob(baseUrl: string, member: string, agent: string): Promise<string> {
  const jeanne = createClient<paths, "application/json">({ baseUrl, headers: { Authorization: `Bearer ${member}` } });
  const claire = createClient<paths, "application/json">({ baseUrl, headers: { Authorization: `Bearer ${agent}` } });
  const key = () => ({ "Idempotency-Key": crypto.randomUUID() });

  const taxonomy = await jeanne.GET("/v1/taxonomy", { params: { query: { audience: "PARTICULIER" } } });
  const theme = taxonomy.data?.themes[0];
  const topic = theme?.topics[0];
  const reason = topic?.reasons[0];
  if (!taxonomy.data || !theme || !topic || !reason) throw new Error("nothing to choose from");
  const submitted = await jeanne.POST("/v1/conversations", {
    params: { header: key() },
    body: {
      audience: "PARTICULIER", theme: theme.code, topic: topic.code, reason: reason.code,
      taxonomyVersion: taxonomy.data.version, text: "Bonjour, je n'ai pas reçu mon paiement.",
    },
  });
  if (submitted.error) throw new Error(reasonOf(submitted.error));
  const path = { id: submitted.data.conversation.id };
  const days: number = submitted.data.expectedDelay?.workingDays ?? 0;

  await jeanne.POST("/v1/conversations/{id}:followUp", { params: { path, header: key() }, body: { text: "Voici un complément." } });
  const claimed = await claire.POST("/v1/agent/conversations/{id}:claim", { params: { path } });
  if (claimed.error) throw new Error(reasonOf(claimed.error));
  await claire.POST("/v1/agent/conversations/{id}:reply", { params: { path, header: key() }, body: { text: "Il part demain.", final: true } });

  const preferences = await jeanne.GET("/v1/me/preferences");
  if (preferences.data) await jeanne.PUT("/v1/me/preferences", { body: { preferences: preferences.data.preferences } });
  const exported = await jeanne.GET("/v1/me/export");
  const texts = exported.data?.conversations.flatMap((c) => c.messages.map((m) => m.text)) ?? [];

  const watch = await jeanne.GET("/v1/conversations:watch", { parseAs: "stream" });
  for await (const hint of events<Hint>(watch.data)) {
    if (hint.unreadCount > 0) break;
  }
  return [submitted.data.conversation.reference, days, ...texts].join(" ");
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
