// White space as the server trims it, which String.trim does not quite.
const SPACE = '[\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+';
const OUTER = new RegExp(`^${SPACE}|${SPACE}$`, 'g');

// Line ends of other programs; characters that nobody sees; and those that come in pairs on a line.
const ENDS = /\r\n?|[\v\f\u0085\u2028\u2029]/g, UNSEEN = /[\0-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e]/, PAIRED = /[\u2066-\u2069]/;

/** clean takes out what the server takes out, so that it can be shown, and counts it. */
export function clean(raw: string): { text: string; removed: number } {
	let removed = 0;
	const line = (of: string): string => {
		const kept: string[] = [], open: number[] = [];
		for (const c of of) {
			if (UNSEEN.test(c) || (c === '\u2069' && !open.length)) { removed += 1; continue; }
			if (c === '\u2069') open.pop();
			else if (PAIRED.test(c)) open.push(kept.length);
			kept.push(c);
		}
		removed += open.length;
		for (const at of open) kept[at] = '';
		return kept.join('');
	};
	return { text: raw.replace(ENDS, '\n').split('\n').map(line).join('\n'), removed };
}

/** count counts characters as the server does: code points of the text that it stores. */
export const count = (text: string): number => [...clean(text).text.normalize('NFC').replace(OUTER, '')].length;

/** wrong says why a text of a member's cannot be sent; empty when it can. */
export function wrong(text: string, min: number, max: number): string {
	const chars = count(text);
	if (chars < min) return `Écrivez au moins ${min} caractères. Votre texte en compte ${chars}.`;
	if (chars > max) return `Écrivez au plus ${max} caractères. Votre texte en compte ${chars}.`;
	return '';
}

const paris = new Intl.DateTimeFormat('fr-FR', { dateStyle: 'long', timeStyle: 'short', timeZone: 'Europe/Paris' });
const hour = 3600_000;

/** date is a time of the API's as people read it, which says of the hour that clocks show twice which it is. */
export function date(time: string | undefined): string {
	if (!time) return '';
	const at = Date.parse(time);
	const words = paris.format(at);
	if (paris.format(at + hour) === words) return `${words} (heure d’été)`;
	if (paris.format(at - hour) === words) return `${words} (heure d’hiver)`;
	return words;
}
