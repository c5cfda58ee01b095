// Who uses the pages in a stock browser, driven by puppeteer: Firefox by WebDriver BiDi.
import { existsSync } from 'node:fs';
import puppeteer from 'puppeteer-core';

export const web = need('WEB_URL');
export const inbox = need('INBOX_URL');

function need(name) {
	const value = process.env[name];
	if (!value) throw new Error(`${name} is not set: run the tests by \`make test-firefox\` or \`make test-heard\``);
	return value;
}

const found = (...paths) => paths.find((path) => existsSync(path));

// launch starts a browser in French, without a window unless one is asked for.
export const launch = (name, { window = false, env, prefs, profile } = {}) => puppeteer.launch(name === 'firefox' ? {
	browser: 'firefox', protocol: 'webDriverBiDi', headless: !window, env, args: window ? ['--kiosk'] : [], defaultViewport: window ? null : { width: 1280, height: 900 },
	executablePath: found('/usr/bin/firefox-esr', '/usr/bin/firefox'),
	extraPrefsFirefox: { 'intl.accept_languages': 'fr', 'ui.prefersReducedMotion': 1, ...prefs },
} : {
	browser: 'chrome', headless: !window, env, userDataDir: profile, defaultViewport: window ? null : { width: 1280, height: 900 },
	executablePath: found('/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'),
	args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--lang=fr', '--accept-lang=fr', ...(window ? ['--kiosk', '--window-position=0,0', '--window-size=1280,900', '--force-renderer-accessibility'] : [])],
	// Its bar above the page would be read first.
	ignoreDefaultArgs: ['--enable-automation'],
});

// signIn makes somebody the user of a page.
export async function signIn(page, persona, hands = keyboard) {
	const agent = persona === 'claire' || persona === 'sofiane';
	await page.goto(`${web}/connexion/${agent ? 'agent' : 'member'}`);
	await press(page, `button[value=${persona}]`, hands);
	await until('signed in', () => page.url().startsWith(web));
}

// Everything is done by the keyboard. Firefox gives no keys to a page without JavaScript: there
// a form is filled in and sent by the driver.
export const keyboard = {
	choose: async (page, selector) => { await page.focus(selector); await page.keyboard.press(' '); },
	follow: async (page, selector) => { await page.focus(selector); await page.keyboard.press('Enter'); },
	type: (page, selector, text) => page.type(selector, text),
};
export const driver = {
	choose: (page, selector) => page.$eval(selector, (input) => input.click()),
	follow: (page, selector) => page.$eval(selector, (link) => link.click()),
	type: (page, selector, text) => page.$eval(selector, (area, typed) => { area.value += typed; }, text),
};

// press leads to another page, and is over when that is there.
export async function press(page, selector, hands = keyboard) {
	await until(selector, () => page.$(selector));
	await Promise.all([page.waitForNavigation(), hands.follow(page, selector)]);
}

// reply has an agent answer a conversation in a browser of their own.
export async function reply(browser, id, text) {
	const page = await browser.newPage();
	await signIn(page, 'claire');
	await page.goto(`${web}/agent/conversations/${id}`);
	if (await page.$('#claim')) await press(page, '#claim');
	await page.type('#text', text);
	await press(page, 'button[value=envoyer]');
	await until('the reply is sent', async () => (await page.$eval('body', (body) => body.textContent)).includes('La réponse est envoyée'));
	await page.close();
}

// until waits for a condition, for so many milliseconds, and says what did not happen.
export async function until(what, condition, patience = 60_000) {
	for (const end = Date.now() + patience; ; await new Promise((resolve) => setTimeout(resolve, 100))) {
		const value = await condition();
		if (value) return value;
		if (Date.now() > end) throw new Error(`did not happen: ${what}`);
	}
}
