// The main job with the functions of @hey-api/openapi-ts. It is compiled, and never run.
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

export async function mainJob(baseUrl: string, member: string, agent: string): Promise<string> {
  const jeanne = createClient(createConfig({ baseUrl, auth: member }));
  const claire = createClient(createConfig({ baseUrl, auth: agent }));
  const headers = () => ({ "Idempotency-Key": crypto.randomUUID() });

  const taxonomy = await getTaxonomy({ client: jeanne, query: { audience: "PARTICULIER" } });
  const theme = taxonomy.data?.themes[0];
  if (!taxonomy.data || !theme) throw new Error("nothing to choose from");
  const submitted = await submitMessage({
    client: jeanne, headers: headers(),
    body: { audience: "PARTICULIER", theme: theme.code, taxonomyVersion: taxonomy.data.version, text: "Bonjour, je n'ai pas reçu mon paiement." },
  });
  if (!submitted.data) throw new Error(reasonOf(submitted.error));
  const path = { id: submitted.data.conversation.id };
  const days: number = submitted.data.expectedDelay?.workingDays ?? 0;

  await postFollowUp({ client: jeanne, path, headers: headers(), body: { text: "Voici un complément." } });
  await agentClaimConversation({ client: claire, path });
  await agentPostReply({ client: claire, path, headers: headers(), body: { text: "Il part demain.", final: true } });

  const preferences = await getPreferences({ client: jeanne });
  if (preferences.data) await replacePreferences({ client: jeanne, body: { preferences: preferences.data.preferences } });
  const exported = await exportMyData({ client: jeanne });
  const texts = exported.data?.conversations.flatMap((c) => c.messages.map((m) => m.text)) ?? [];
  return [submitted.data.conversation.reference, days, ...texts].join(" ");
}
