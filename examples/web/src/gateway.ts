// The gateway, typed by the document that it serves (api.d.ts, npm run client).
import createClient from 'openapi-fetch';
import type { components, paths } from './api';
import { Refusal } from './dom';
import { session, signIn } from './signin';

export const gateway = createClient<paths>({ baseUrl: API });

gateway.use({
	onRequest({ request }) {
		request.headers.set('Accept-Language', document.documentElement.lang);
		const signedIn = session();
		if (signedIn) request.headers.set('Authorization', `Bearer ${signedIn.token}`);
		return request;
	},
	// A token lapses after an hour or so. What was being written is in the session storage.
	async onResponse({ response }) {
		if (response.status === 401) await signIn();
	},
});

type Body<P extends keyof paths> = paths[P] extends { get: { responses: { 200: { content: { 'application/json': infer B } } } } } ? B : never;

export type Taxonomy = Body<'/v1/taxonomy'>;
export type Audience = NonNullable<Taxonomy['audience']>;
export type Conversation = NonNullable<Body<'/v1/conversations/{id}'>['conversation']>;
type Problem = Pick<components['schemas']['google.rpc.Status'], 'details'>;
export type Service = NonNullable<Body<'/v1/suggestion'>['services']>[number];

/**
 * taken is an answer's data. A refusal is thrown in the gateway's own words for people
 * (LocalizedMessage); what a program would compare is the reason beside it.
 */
export async function taken<D, E extends Problem>(call: Promise<{ data?: D; error?: E; response: Response }>): Promise<D> {
	const { data, error, response } = await call;
	if (data !== undefined) return data;
	const words = error?.details?.find((detail) => detail['@type'] === 'type.googleapis.com/google.rpc.LocalizedMessage')?.['message'];
	throw new Refusal(typeof words === 'string' ? words : `La messagerie ne peut pas répondre (${response.status}). Réessayez dans un instant.`);
}
