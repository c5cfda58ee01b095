// The main job with the functions of @hey-api/openapi-ts.
import { createClient, createConfig } from "./build/hey/client/index.js";
import {
  agentClaimConversation, agentPostReply, exportMyData, getPreferences, getTaxonomy, postFollowUp, replacePreferences, submitMessage,
} from "./build/hey/sdk.gen.js";
import type { GoogleRpcStatus } from "./build/hey/types.gen.js";

function reasonOf(error: GoogleRpcStatus): string {
  for (const detail of error.details ?? []) {
    if (detail["@type"] === "type.googleapis.com/google.rpc.ErrorInfo") return detail.reason;
  }
  return "";
}

/** taken is an answer's content, or the reason why there is none. */
async function taken<T>(asked: Promise<{ data: T | undefined; error: unknown }>): Promise<T> {
  const { data, error } = await asked;
  if (data === undefined) throw new Error(reasonOf(error as GoogleRpcStatus));
  return data;
}

/** mainJob returns the texts of all that the member has, once an agent has answered. */
export async function mainJob(baseUrl: string, member: string, agent: string): Promise<string[]> {
  const jeanne = createClient(createConfig({ baseUrl, auth: member }));
  const claire = createClient(createConfig({ baseUrl, auth: agent }));
  const headers = () => ({ "Idempotency-Key": crypto.randomUUID() });

  const taxonomy = await taken(getTaxonomy({ client: jeanne, query: { audience: "PARTICULIER" } }));
  const theme = taxonomy.themes.find((offered) => offered.topics.some((topic) => topic.reasons.length > 0));
  const topic = theme?.topics.find((offered) => offered.reasons.length > 0);
  const reason = topic?.reasons[0];
  if (!theme || !topic || !reason) throw new Error("nothing to choose from");
  const submitted = await taken(submitMessage({
    client: jeanne, headers: headers(),
    body: {
      audience: "PARTICULIER", theme: theme.code, topic: topic.code, reason: reason.code,
      taxonomyVersion: taxonomy.version, text: "Bonjour, je n'ai pas reçu mon paiement.",
    },
  }));
  const path = { id: submitted.conversation.id };
  const days: number = submitted.expectedDelay?.workingDays ?? 0;

  await taken(postFollowUp({ client: jeanne, path, headers: headers(), body: { text: "Voici un complément." } }));
  const { conversation: read } = await taken(agentClaimConversation({ client: claire, path }));
  await taken(agentPostReply({ client: claire, path, headers: headers(), body: { text: "Il part demain.", final: true, lastMessageId: read.lastMessageId } }));

  const { preferences } = await taken(getPreferences({ client: jeanne }));
  await taken(replacePreferences({ client: jeanne, body: { preferences } }));
  const exported = await taken(exportMyData({ client: jeanne }));
  return [`${submitted.conversation.reference}, ${days} days`, ...exported.conversations.flatMap((c) => c.messages.map((m) => m.text))];
}
