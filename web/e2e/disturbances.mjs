// What comes between the typing of a text and its arrival. Each says for which pages it can come
// (`applies` returns why not), what happens (`happens`), whether the page is left instead of its
// form being sent (`leaves`), whether what was typed is sent with that (`carries`; `ties`: but words of a search), and what
// must hold beside the text being there (`then`).
import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { away, limited, need, web } from './browser.mjs';
import { api, selection } from './fields.mjs';

// The pages in front of a gateway that does what it is asked, and whose answers to that are lost;
// the key of the pages' cookies, to have a session end.
const lossy = need('WEB_LOSSY_URL'), sessionKey = need('WEB_KEY');

const colleague = 'conseiller-armorique-900';
const cookie = '__Host-session';

// sends reports whether a request is the form's of a page.
const sends = (spec, request) => request.isNavigationRequest() && request.method() === (spec.get ? 'GET' : 'POST');

// elsewhere has what the page sends next answered by another front end.
const elsewhere = (front) => ({ page, spec }) => page.route((url) => String(url).startsWith(web), async (route) => {
	const request = route.request(), path = new URL(request.url()).pathname;
	if (!sends(spec, request) && (request.method() !== 'POST' || path.endsWith('/enregistrer'))) return route.continue();
	const headers = { ...(await request.allHeaders()), origin: front, 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'navigate' };
	return route.fulfill({ response: await route.fetch({ url: request.url().replace(web, front), headers, maxRedirects: 0 }) });
});

// wound changes the session that the browser has, as time would.
const wound = (change) => async ({ context }) => {
	const parts = (await context.cookies()).filter(({ name }) => name === cookie || name.startsWith(`${cookie}.`)).sort((a, b) => a.name.localeCompare(b.name));
	const raw = Buffer.from(parts.map(({ value }) => value).join(''), 'base64url'), key = Buffer.from(sessionKey.split(',')[0].trim(), 'base64');
	const open = createDecipheriv('aes-256-gcm', key, raw.subarray(0, 12)).setAAD(Buffer.from(cookie)).setAuthTag(raw.subarray(-16));
	const held = JSON.parse(Buffer.concat([open.update(raw.subarray(12, -16)), open.final()]));
	change(held);
	const nonce = randomBytes(12), seal = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(cookie));
	const sealed = Buffer.concat([nonce, seal.update(JSON.stringify(held)), seal.final(), seal.getAuthTag()]).toString('base64url');
	assert.equal(parts.length, Math.ceil(sealed.length / 3800), 'the session has become longer');
	await context.addCookies(parts.map((part, i) => ({ ...part, value: sealed.slice(3800 * i, 3800 * (i + 1)) })));
};
const ago = (hours) => new Date(Date.now() - hours * 3600_000).toISOString();

// elsewhere in the same browser: another tab.
const inOtherTab = (act) => async (run) => {
	const tab = await run.context.newPage();
	await act(tab, run);
	await tab.close();
};
const signOut = async (tab) => {
	await tab.goto(`${web}/aide`);
	await Promise.all([tab.waitForURL('**/connexion'), tab.click('form[action="/deconnexion"] button')]);
};

// What colleagues do with the conversation of the page.
const last = async (id) => (await api(colleague, 'GET', `/v1/agent/conversations/${id}`)).conversation.lastMessageId;
const theirs = (verb, body = () => ({}), keyed = false) => async ({ made }) => api(colleague, 'POST', `/v1/agent/conversations/${made.id}:${verb}`, await body(made.id), keyed ? { 'idempotency-key': crypto.randomUUID() } : {});

const inConversation = ({ conversation, sends }) => (conversation || sends === 'texte' ? '' : 'no conversation');
const onlyConversation = (spec) => (spec.conversation ? '' : 'no agent’s conversation');
const onlyDraft = (spec) => (spec.draft ? '' : 'no message that is begun');
const typedHere = (spec) => (spec.fixed ? 'nothing is typed on the page' : '');
const saidByBrowser = (run) => run.page.locator('main :invalid, header :invalid').count();

// longer types another text into the fields that take one so long.
const longer = (text) => ({ field, was }) => (field.type === 'textarea' ? text(was) : was);

const back = (page) => page.goBack();

export const disturbances = {
	// Answers.
	'the gateway is away': { happens: elsewhere(away) },
	'too many requests': { happens: elsewhere(limited) },
	'the gateway’s answer is lost': { happens: elsewhere(lossy), again: true, once: true },
	'the answer is lost on the way to the browser': {
		happens: async ({ page, spec }) => {
			let lost = false;
			await page.route((url) => String(url).startsWith(web), async (route) => {
				if (lost || !sends(spec, route.request())) return route.continue();
				lost = true;
				await route.fetch({ maxRedirects: 0 });
				return route.abort('connectionreset');
			});
		},
		breaks: true, once: true,
	},
	'offline when it is sent': { happens: ({ context }) => context.setOffline(true), breaks: true, mended: ({ context }) => context.setOffline(false), once: true },
	'the browser’s Stop': {
		happens: async (run) => {
			const { page, spec } = run;
			// The request waits on the way until the person gives it up.
			const waiting = new Promise((resolve) => {
				run.letGo = page.route((url) => String(url).startsWith(web), (route) => {
					if (!sends(spec, route.request())) return route.continue();
					return resolve(route);
				});
			});
			await run.letGo;
			await page.locator(spec.button).first().click({ noWaitAfter: true });
			const route = await waiting;
			const client = await run.context.newCDPSession(page);
			await client.send('Page.stopLoading');
			await route.abort('aborted').catch(() => {});
			await page.unrouteAll({ behavior: 'ignoreErrors' });
			assert.deepEqual(await run.missing(Object.values(run.typed)), []);
			// It can be sent again, by the same button.
			await page.locator(`:is(${spec.button}):not([aria-disabled])`).first().waitFor();
		},
		once: true,
	},
	'a double click': { once: true, double: true },
	'two sendings from two tabs': {
		applies: (spec) => (spec.kept ? 'handed back once' : ''),
		happens: inOtherTab(async (tab, run) => { await tab.goto(run.at); await run.typeInto(tab, ({ field }) => run.markedText(field)); await run.pressOn(tab, run.spec.button); }),
	},

	// The session.
	'the session’s cookie is gone': { happens: ({ context }) => context.clearCookies({ name: /session/ }) },
	'half an hour without a page': { happens: wound((held) => { held.l = ago(1); }) },
	'a session of eight hours': { happens: wound((held) => { held.b = ago(9); }) },
	'signed out in the other tab': { happens: inOtherTab(signOut) },
	'signed out and in again in the other tab': { happens: inOtherTab(async (tab, run) => { await signOut(tab); await run.signInOn(tab, run.persona); }) },
	'somebody else signed in in the other tab': {
		happens: inOtherTab(async (tab, run) => { await signOut(tab); await run.signInOn(tab, run.stranger); }),
		then: async (run) => {
			assert.match(await run.page.textContent('main'), /autre compte|autre personne|quelqu’un d’autre/i);
			// Back as who had typed it, it is sent.
			await inOtherTab(async (tab) => { await signOut(tab); await run.signInOn(tab, run.persona); })(run);
			await run.press('main form[data-once] button.button');
			await run.settle();
		},
	},
	'the other side signed in in the other tab': { happens: inOtherTab(async (tab, run) => { await signOut(tab); await run.signInOn(tab, run.spec.side === 'agent' ? 'paul' : 'claire'); }) },
	'signed out in this tab': { leaves: true, happens: async (run) => { await Promise.all([run.page.waitForURL('**/connexion'), run.page.click('form[action="/deconnexion"] button')]); await run.signInOn(run.page, run.persona); } },
	'another profile chosen in the other tab': {
		persona: 'marc', applies: (spec) => (spec.side === 'agent' ? 'agents have no profiles' : ''),
		happens: inOtherTab(async (tab) => { await tab.goto(`${web}/profil`); await tab.check('input[value=EXPLOITANT]'); await Promise.all([tab.waitForEvent('domcontentloaded'), tab.click('main form button.button')]); }),
	},

	// What others do with the conversation.
	'a colleague claims it': { applies: inConversation, happens: theirs('claim') },
	'a colleague closes it': { applies: inConversation, happens: theirs('close', async (id) => ({ lastMessageId: await last(id), text: 'Votre demande est réglée par téléphone.' })) },
	'a colleague transfers it': { applies: inConversation, happens: theirs('transfer', async (id) => ({ lastMessageId: await last(id), queue: 'retraite' })) },
	'a colleague transfers it out of sight': {
		applies: onlyConversation, persona: 'nadia',
		before: theirs('transfer', async (id) => ({ lastMessageId: await last(id), queue: 'retraite' })),
		happens: theirs('transfer', async (id) => ({ lastMessageId: await last(id), queue: 'prestations-familiales' })),
	},
	'a colleague answers it': { applies: inConversation, happens: theirs('reply', async (id) => ({ lastMessageId: await last(id), text: 'Votre dossier est complet depuis hier.', final: true }), true) },
	'a colleague reclassifies it': { applies: inConversation, happens: theirs('recategorise', () => ({ theme: selection.theme, topic: 'aides-logement', reason: 'demande' })) },
	'the CRM answers it': { applies: inConversation, happens: async ({ made }) => api('crm', 'POST', `/v1/agent/conversations/${made.id}:reply`, { lastMessageId: await last(made.id), text: 'Une réponse du CRM de la caisse.', final: false }, { 'idempotency-key': crypto.randomUUID(), 'x-agent': 'agents:claire' }) },
	'the member writes further': { applies: inConversation, happens: ({ made }) => api(made.member, 'POST', `/v1/conversations/${made.id}:followUp`, { text: 'Une précision, entre-temps.' }, { 'idempotency-key': crypto.randomUUID() }) },
	'the member erases it': { applies: inConversation, fresh: true, happens: ({ made }) => api(made.member, 'POST', '/v1/me:erase', { confirm: true }) },

	// What the person does with the same thing elsewhere.
	'the draft is deleted in the other tab': { applies: onlyDraft, happens: ({ made, persona }) => api(persona, 'DELETE', `/v1/drafts/${made.draft}`) },
	'the draft is sent in the other tab': {
		applies: onlyDraft,
		happens: async ({ made, persona }) => {
			await api(persona, 'POST', '/v1/conversations', { ...selection, text: made.text ?? 'Envoyé de l’autre onglet.' }, { 'idempotency-key': made.draft });
			await api(persona, 'DELETE', `/v1/drafts/${made.draft}`);
		},
	},
	'the draft is changed in the other tab': { applies: onlyDraft, happens: ({ made, persona }) => api(persona, 'PUT', `/v1/drafts/${made.draft}`, { ...selection, text: 'Écrit dans l’autre onglet.' }) },
	'another theme is chosen in the other tab': { applies: onlyDraft, happens: ({ made, persona }) => api(persona, 'PUT', `/v1/drafts/${made.draft}`, { ...selection, topic: 'aides-logement', reason: 'demande', text: made.text ?? '' }) },
	'the page’s theme has left the taxonomy': {
		applies: onlyDraft,
		happens: ({ page }) => page.locator('main form[data-once] input[name=topic]').evaluate((el) => { el.value = 'retiré'; }),
	},

	// What else the page has.
	'another form of the page': { leaves: true, ties: true, applies: (spec) => (spec.another ? '' : 'the page has no other form'), happens: (run) => run.press(run.spec.another) },
	'the header’s search': { leaves: true, ties: true, applies: (spec) => (spec.side === 'agent' && !spec.headless && !/^header|form\.search/.test(spec.button) ? '' : 'no other search in the header'), happens: async (run) => { await run.page.fill('header .find input[name=q]', 'MSA-7K3D92QD'); await run.press('header .find button'); } },
	'a template is inserted': { applies: onlyConversation, inserts: true, stays: true, before: async (run) => { await api(run.persona, 'PUT', `/v1/agent/templates/${crypto.randomUUID()}`, { title: 'Dossier complet', text: 'Votre dossier {{reference}} est complet.' }); await run.page.reload(); }, happens: (run) => run.press('button[value=modele]') },
	'the reply is previewed': { applies: onlyConversation, stays: true, happens: (run) => run.press('button[value=apercu]') },
	'back from the preview': { applies: onlyConversation, leaves: true, carries: true, happens: async (run) => { await run.press('button[value=apercu]'); await back(run.page); } },
	'a reload right after the last key': { applies: (spec) => (spec.autosaved || spec.draft ? '' : 'nothing is saved while one types'), leaves: true, happens: ({ page }) => page.reload() },
	'the agent claims it': { applies: onlyConversation, stays: true, happens: (run) => run.press('#claim') },
	'the agent reclassifies it': { applies: onlyConversation, stays: true, happens: async (run) => { await run.page.click('details.acts summary'); await run.press('button[formaction$="/reclasser"]'); } },
	'the agent closes without the text': {
		applies: onlyConversation, leaves: true,
		// Where a reply is due it is closed with a sentence: only an answered one has the box.
		before: async (run) => {
			await api('crm', 'POST', `/v1/agent/conversations/${run.made.id}:reply`, { lastMessageId: await last(run.made.id), text: 'Votre dossier est complet.', final: true }, { 'idempotency-key': crypto.randomUUID(), 'x-agent': 'agents:claire' });
			await run.page.reload();
		},
		happens: async (run) => { await run.page.click('details.acts summary'); await run.page.uncheck('#explain'); await run.press('button[formaction$="/clore"]'); },
	},
	'the agent transfers it': { applies: onlyConversation, leaves: true, happens: async (run) => { await run.page.click('details.acts summary'); await run.press('button[formaction$="/transfert"]'); } },

	// The page is left, and come back to.
	'another language': { leaves: true, carries: true, happens: (run) => run.press('footer button[name=vers]') },
	'back, and forward': { leaves: true, behind: true, happens: async ({ page }) => { await back(page); await page.goForward(); } },
	'a reload': { leaves: true, happens: ({ page }) => page.reload() },
	'a link, and back': { leaves: true, happens: async (run) => { await run.press('footer a[href="/aide"]'); await back(run.page); } },
	'the address of another page': { leaves: true, happens: ({ page }) => page.goto(`${web}/accessibilite`) },
	'the tab is closed': { leaves: true, happens: (run) => run.closeTab() },

	// What the rules refuse.
	'a character too many': { text: longer((was) => was.padEnd(5001, 'x')), applies: typedHere },
	'20,000 characters': { text: longer((was) => was.padEnd(20_000, ' é')), applies: typedHere },
	'20,000 characters of four bytes': { text: longer((was) => was + '😀'.repeat(20_000)), applies: typedHere },
	'too short': { text: ({ field, was }) => (field.type === 'textarea' ? 'é' : was), applies: typedHere },
	'a character that nobody sees': { text: longer((was) => `${was}\u0007`), applies: typedHere },
	'no e-mail address': { text: ({ field, was }) => (field.name === 'email' ? `marque.${crypto.randomUUID()}@` : was), applies: (spec) => (spec.button.includes('preferences') ? '' : 'no e-mail address'), stays: saidByBrowser },
	'an e-mail address that only the service refuses': { text: ({ field, was }) => (field.name === 'email' ? `marque-${crypto.randomUUID()}@7k3d` : was), applies: (spec) => (spec.button.includes('preferences') ? '' : 'no e-mail address') },
	'no phone number': { text: ({ field, was }) => (field.name === 'telephone' ? `0612${crypto.randomUUID().slice(0, 4)}x` : was), applies: (spec) => (spec.button.includes('preferences') ? '' : 'no phone number') },
	'no reference': { text: ({ field, was }) => (['q', 'conversation'].includes(field.name) ? `pas-une-reference-${was}` : was), applies: (spec) => (spec.search ? '' : 'no reference') },
	'a title too long': { text: ({ field, was }) => (field.name === 'titre' ? was.padEnd(81, 'x') : was), applies: (spec) => (spec.sends === 'titre' ? '' : 'no title') },
	'a text longer than cookies hold, and no session': {
		text: longer((was) => was + randomBytes(9000).toString('base64')), applies: typedHere,
		happens: ({ context }) => context.clearCookies({ name: /session/ }), elsewhere: true,
	},
};
