// Every page that has a form with a field for text: whom it is for, how one comes to it, and the
// button that sends it. What is typed where is read from the page itself.
import { readdirSync, readFileSync } from 'node:fs';
import { need, web } from './browser.mjs';

// The API and the provider of its tokens, to do what others do meanwhile.
const gateway = need('GATEWAY_URL'), oidc = need('OIDC_URL');

export const FRESH = 'fresh'; // a member, or an agent, whom nobody else is

/** kinds of what can be typed, with a mark that stands nowhere by itself. */
const kinds = {
	email: (mark) => `marque-${mark}@7k3d.example`,
	tel: () => `+3363998${Math.floor(1000 + Math.random() * 8999)}`,
	q: (mark) => `MSA-${mark.slice(0, 8).toUpperCase()}`,
	conversation: (mark) => `MSA-${mark.slice(0, 8).toUpperCase()}`,
	autre: (mark) => `agents:marque-${mark}`,
	text: (mark) => `Marqué ${mark}, « é » <&> 😀`,
	textarea: (mark) => `Texte marqué ${mark}, « é » <&> 😀.\nUne seconde ligne.`,
};
const mark = () => crypto.randomUUID().slice(0, 18).replace('-', '');
export const markedText = (field) => (kinds[field.name] ?? kinds[field.type] ?? kinds.text)(mark());

// textual are the fields that people type into, and the text that a page has from the one before.
const textual = 'textarea[name]:not([readonly]), input[name]:is([type=text], [type=search], [type=email], [type=tel], [type=url], [type=number], [type=password], :not([type])), input[type=hidden][name=texte]';

/** fieldsOf are the fields of the form that a button sends. */
export const fieldsOf = (page, button) => page.locator(button).first().evaluate((el, selector) => [...el.form.querySelectorAll(selector)].map((f) => ({ name: f.name, type: f.tagName === 'TEXTAREA' ? 'textarea' : f.type, id: f.id })), textual);

/** formsOn are all forms of a page with a field for text, by their addresses and fields. */
export const formsOn = (page) => page.locator('form').evaluateAll((forms, selector) => forms.map((form) => ({ action: form.getAttribute('action'), names: [...form.querySelectorAll(selector)].map((f) => f.name) })).filter(({ names }) => names.length), textual);

/** inTemplates are the names of fields that the templates have, each with its file. */
export function inTemplates() {
	const folder = new URL('../internal/render/templates/', import.meta.url), found = [];
	for (const file of readdirSync(folder)) {
		for (const [tag] of readFileSync(new URL(file, folder), 'utf8').matchAll(/<(?:textarea|input)\b(?:[^<>{]|\{\{[^}]*\}\})*/g)) {
			const name = /\sname="([\w-]+)"/.exec(tag)?.[1], type = /\stype="(\w+)"/.exec(tag)?.[1] ?? 'text';
			if (name && !tag.includes(' readonly') && (tag.startsWith('<textarea') || ['text', 'search', 'email', 'tel', 'url', 'number', 'password'].includes(type))) found.push({ file, name });
		}
	}
	return found;
}

const tokens = new Map();

/** api does at the gateway what a persona does in another window, and returns the answer. */
export async function api(persona, method, path, body, headers = {}) {
	if (!tokens.has(persona)) tokens.set(persona, (await (await fetch(`${oidc}/dev/token?as=${persona}`)).text()).trim());
	const answer = await fetch(gateway + path, { method, headers: { authorization: `Bearer ${tokens.get(persona)}`, 'content-type': 'application/json', ...headers }, body: body && JSON.stringify(body) });
	const text = await answer.text();
	if (!answer.ok) throw new Error(`${method} ${path} as ${persona}: ${answer.status} ${text}`);
	return text ? JSON.parse(text) : {};
}

export const selection = { audience: 'PARTICULIER', theme: 'famille-logement', topic: 'allocations-familiales', reason: 'paiement-absent', taxonomyVersion: 3 };

/** written is a conversation of a member, from elsewhere. */
export async function written(member) {
	const { conversation } = await api(member, 'POST', '/v1/conversations', { ...selection, text: 'Un message pour un conseiller.' }, { 'idempotency-key': crypto.randomUUID() });
	return conversation.id;
}

/** drafted is a draft of a member, as it is when its selection is made. */
export async function drafted(member, text = '') {
	const id = crypto.randomUUID();
	await api(member, 'PUT', `/v1/drafts/${id}`, { ...selection, text });
	return id;
}

const inThread = (page, text) => page.locator('#thread .said, .inner .said').evaluateAll((all, wanted) => all.filter((el) => el.textContent.replace(/\s+/g, ' ').trim() === wanted.replace(/\s+/g, ' ').trim()).length, text);

async function openConversation(run) {
	const { id } = run.made = { id: await written(run.other), member: run.other };
	await run.page.goto(`${web}/agent/conversations/${id}`);
}

// conversation says how often a text stands in one, of which the run has the id.
const onPageOf = (path) => async (run, text) => {
	await run.page.goto(web + path(run));
	return inThread(run.page, text);
};

export const pages = {
	message: {
		side: 'member', draft: true, button: 'main form:has(#text) button.button',
		open: async (run) => { run.made = { draft: await drafted(run.persona) }; await run.page.goto(`${web}/messagerie/brouillons/${run.made.draft}/message`); },
	},
	recap: {
		side: 'member', draft: true, fixed: true, button: 'main form[action$="/envoyer"] button.button',
		open: async (run) => {
			const text = markedText({ type: 'textarea' });
			run.made = { draft: await drafted(run.persona, text), text };
			await run.page.goto(`${web}/messagerie/brouillons/${run.made.draft}/recapitulatif`);
		},
		// What was sent stands in the conversation, to which the confirmation leads.
		landed: async (run) => { if (run.page.url().includes('/confirmation/')) await run.page.goto(run.page.url().replace('/confirmation/', '/conversations/')); },
		stored: async (run, text) => {
			let found = 0;
			for (const { id } of (await api(run.persona, 'GET', '/v1/conversations')).conversations ?? []) {
				const { conversation } = await api(run.persona, 'GET', `/v1/conversations/${id}`);
				found += conversation.messages.filter((m) => m.text === text).length;
			}
			return found;
		},
	},
	'follow-up': {
		side: 'member', autosaved: true, sends: 'texte', button: 'main form[action$="/suite"] button.button', another: 'main button[formaction$="/masquer"]',
		open: async (run) => { run.made = { id: await written(run.persona), member: run.persona }; await run.page.goto(`${web}/messagerie/conversations/${run.made.id}`); },
		stored: onPageOf((run) => `/messagerie/conversations/${run.made.id}`),
	},
	preferences: { side: 'member', button: 'main form[action="/preferences"] button.button', open: (run) => run.page.goto(`${web}/preferences`) },
	list: {
		side: 'member', search: true, get: true, button: 'main form.seek button',
		open: async (run) => { await written(run.persona); await run.page.goto(`${web}/messagerie`); },
	},
	themes: { side: 'member', search: true, button: 'main form.search button', another: 'main form:not(.search) button', open: (run) => run.page.goto(`${web}/messagerie/nouveau`) },
	'handed back': {
		side: 'member', sends: 'texte', button: 'main form[data-once] button.button', kept: true,
		open: async (run) => {
			await pages['follow-up'].open(run);
			await run.page.fill('#text', 'Ce qui était écrit avant la connexion.');
			await run.context.clearCookies({ name: /session/ });
			await run.press(pages['follow-up'].button);
			await run.signIn();
			await run.page.waitForURL('**/repris');
		},
		stored: onPageOf((run) => `/messagerie/conversations/${run.made.id}`),
	},
	reply: { side: 'agent', autosaved: true, conversation: true, sends: 'texte', button: 'button[value=envoyer]', another: 'button[formaction$="/autres"]', open: openConversation, stored: onPageOf((run) => `/agent/conversations/${run.made.id}`) },
	note: { side: 'agent', autosaved: true, conversation: true, sends: 'note', button: 'button[formaction$="/noter"]', another: 'button[formaction$="/autres"]', open: openConversation, stored: onPageOf((run) => `/agent/conversations/${run.made.id}`) },
	reclassify: {
		side: 'agent', search: true, headless: true, button: 'main form.search button',
		open: async (run) => { await openConversation(run); await run.page.click('details.acts summary'); await run.press('button[formaction$="/motifs"]'); await run.page.waitForURL('**/motifs?r=*'); },
	},
	find: { side: 'agent', search: true, button: 'main form.search button', open: (run) => run.page.goto(`${web}/agent/recherche`) },
	'header’s search': { side: 'agent', search: true, button: 'header form.find button', another: 'form[action="/agent/raccourcis"] button', open: async (run) => { await run.page.goto(`${web}/agent`); await run.page.click('details:has(form[action="/agent/raccourcis"]) summary'); } },
	audit: { side: 'agent', search: true, button: 'main form[action="/agent/audit"] button', open: (run) => run.page.goto(`${web}/agent/audit`) },
	template: {
		side: 'agent', sends: 'titre', headless: true, button: 'main form[action="/agent/modeles"] button.button',
		open: async (run) => {
			await api(run.persona, 'PUT', `/v1/agent/templates/${crypto.randomUUID()}`, { title: 'Un modèle à supprimer', text: 'Votre dossier {{reference}} est complet.' });
			await run.page.goto(`${web}/agent/modeles`);
		},
		stored: async (run, text) => (await api(run.persona, 'GET', '/v1/agent/templates?pageSize=1000')).templates.filter((t) => t.title === text).length,
	},
};
