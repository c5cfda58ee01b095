// White space as the server trims it, which String.trim does not quite.
const SPACE = '[\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+';
const OUTER = new RegExp(`^${SPACE}|${SPACE}$`, 'g');

/** count counts characters as the server does: code points, after CRLF to LF, NFC and trimming. */
export const count = (text: string): number => [...text.replace(/\r\n?/g, '\n').normalize('NFC').replace(OUTER, '')].length;

/** wrong says why a text of a member's cannot be sent; empty when it can. */
export function wrong(text: string, min: number, max: number): string {
	const chars = count(text);
	if (chars < min) return `Écrivez au moins ${min} caractères. Votre texte en compte ${chars}.`;
	if (chars > max) return `Écrivez au plus ${max} caractères. Votre texte en compte ${chars}.`;
	return '';
}

/** date is a time of the API's as people read it. */
export const date = (time: string | undefined): string =>
	time ? new Intl.DateTimeFormat('fr-FR', { dateStyle: 'long', timeStyle: 'short', timeZone: 'Europe/Paris' }).format(new Date(time)) : '';
