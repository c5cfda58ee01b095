// What all tests of the pages share: a real Chromium, people who sign in, and the inbox.
import { chromium } from 'playwright-core';
import { existsSync } from 'node:fs';

export const web = need('WEB_URL');
export const inbox = need('INBOX_URL');
// The same pages in front of a gateway that is away, and of one that limits.
export const away = need('WEB_AWAY_URL');
export const limited = need('WEB_LIMITED_URL');

// need is what the Go test that runs these gives them.
export function need(name) {
	const value = process.env[name];
	if (!value) throw new Error(`${name} is not set: run the tests by \`go test ./dev/stack -run TestBrowser\``);
	return value;
}

// The shell is the same engine without a browser's own windows, which cost more than the
// pages do.
const executablePath = ['/usr/bin/chromium-headless-shell', '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => existsSync(path));

export const launch = () => chromium.launch({
	executablePath,
	args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

// person opens a browser of its own and signs somebody in. What the pages complain
// about, a breach of the content security policy included, is in `faults`.
export async function person(browser, persona, options = {}) {
	const agent = persona === 'claire' || persona === 'sofiane';
	const context = await browser.newContext({ locale: 'fr-FR', reducedMotion: 'reduce', viewport: { width: 1280, height: 900 }, ...options });
	context.setDefaultTimeout(15_000);
	const page = await context.newPage();
	const faults = [];
	const expected = /the server responded with a status of (4\d\d|503)|net::ERR_INTERNET_DISCONNECTED/;
	page.on('console', (message) => {
		if (page.url().startsWith(web) && message.type() === 'error' && !expected.test(message.text())) faults.push(message.text());
	});
	page.on('pageerror', (error) => faults.push(String(error)));
	if (persona) {
		await page.goto(`${web}/connexion/${agent ? 'agent' : 'member'}`);
		// Of those with a number there are too many for a list.
		const listed = page.locator(/\d/.test(persona) ? 'button[name=persona]' : `button:has-text("${persona}")`).first();
		if (/\d/.test(persona)) await listed.evaluate((el, name) => { el.value = name; }, persona);
		await listed.click();
		await page.waitForURL((url) => String(url).startsWith(web));
	}
	return { context, page, faults };
}

// question answers one page of radios and goes on. Without a code, the first is chosen.
export async function question(page, code) {
	await page.check(code ? `input[type=radio][value="${code}"]` : 'input[type=radio] >> nth=0');
	await page.click('main form button.button >> nth=0');
}

// choose goes through the levels of the selection to the page of the message.
export async function choose(page, codes = []) {
	await page.goto(`${web}/messagerie/nouveau`);
	for (let level = 0; !(await page.isVisible('#text')); level += 1) {
		if (level > 3) throw new Error(`no page of the message after ${level} questions: ${page.url()}`);
		await question(page, codes[level]);
	}
}

// write fills in the message and goes on to the recap; an online service that is
// proposed is set aside.
export async function write(page, text) {
	if (await page.isVisible('#proposal')) await page.click('#proposal button[value=ecrire]');
	await page.fill('#text', text);
	await page.click('main form button.button');
	await page.waitForURL('**/recapitulatif');
}

export const withService = ['famille-logement', 'allocations-familiales', 'paiement-absent'];

// send goes all the way and returns the conversation's id and reference.
export async function send(page, text, codes = withService) {
	await choose(page, codes);
	await write(page, text);
	await page.click('text=Envoyer le message');
	await page.waitForURL('**/confirmation/**');
	return { id: page.url().split('/').pop(), reference: (await page.textContent('.panel strong')).trim() };
}

// saveTemplate makes a reply template, as a supervisor does.
export async function saveTemplate(page, title, text) {
	await page.goto(`${web}/agent/modeles`);
	await page.fill('#title', title);
	await page.fill('#text', text);
	await page.click('main form[action="/agent/modeles"] button.button');
	await page.waitForSelector('text=Le modèle est enregistré');
}

// mails returns what left about a reference, once there are as many as wanted.
export async function mails(reference, wanted) {
	for (let end = Date.now() + 20_000; ; await new Promise((resolve) => setTimeout(resolve, 100))) {
		const { messages } = await (await fetch(`${inbox}/api/messages`)).json();
		const found = messages.filter((m) => `${m.subject} ${m.text}`.includes(reference));
		if (found.length >= wanted || Date.now() > end) return found;
	}
}

// listed counts the conversations of a member that hold a text.
export async function listed(page, text) {
	await page.goto(`${web}/messagerie`);
	const links = await page.locator('.item h3 a').evaluateAll((all) => all.map((a) => a.href));
	let count = 0;
	for (const link of links) {
		await page.goto(link);
		if ((await page.textContent('#thread')).includes(text)) count += 1;
	}
	return count;
}
