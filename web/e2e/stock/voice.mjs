// Stands in for Speech Dispatcher, which a screen reader gives what it says to: it speaks
// nothing, takes the time of a fast voice for it, and keeps what was said to its end. What is
// cut off was not heard.
import { createServer } from 'node:net';

// A person who is used to it follows 400 words a minute; a test may be in more of a hurry.
const MS_PER_CHARACTER = 4, LEAST_MS = 60;

/** Listens at a socket; `heard` has one { text, cut } for each utterance that is over. */
export async function voice(path) {
	const heard = [];
	const server = createServer((socket) => {
		let rest = '', data, id = 0, timer;
		const queue = [];
		const tell = (code, ...lines) => socket.write(`${lines.map((line, i) => `${code}${i < lines.length - 1 ? '-' : ' '}${line}\r\n`).join('')}`);
		const next = () => {
			if (timer || !queue.length) return;
			const said = queue[0];
			tell(701, said.id, 1, 'BEGIN');
			timer = setTimeout(() => {
				timer = undefined;
				queue.shift();
				heard.push({ text: said.text, cut: false });
				tell(702, said.id, 1, 'END');
				next();
			}, Math.max(LEAST_MS, said.text.length * MS_PER_CHARACTER));
		};
		const say = (text) => {
			id += 1;
			queue.push({ id, text });
			tell(225, id, 'OK MESSAGE QUEUED');
			next();
		};
		const cancel = () => {
			clearTimeout(timer);
			timer = undefined;
			for (const said of queue.splice(0)) {
				heard.push({ text: said.text, cut: true });
				tell(703, said.id, 1, 'CANCELED');
			}
		};
		const command = (line) => {
			const [name, ...words] = line.split(' ');
			switch (name.toUpperCase()) {
			case 'SPEAK': data = []; tell(230, 'OK RECEIVING DATA'); break;
			case 'CHAR': case 'KEY': case 'SOUND_ICON': say(words.join(' ')); break;
			case 'CANCEL': case 'STOP': cancel(); tell(210, 'OK CANCELED'); break;
			case 'HISTORY': tell(245, 1, 'OK CLIENT ID SENT'); break;
			case 'LIST': tell(words[0] === 'OUTPUT_MODULES' ? 250 : 249, words[0] === 'OUTPUT_MODULES' ? 'voice' : 'voice\tfr\tnone', 'OK LIST SENT'); break;
			case 'GET': tell(251, 'voice', 'OK GET RETURNED'); break;
			default: tell(200, 'OK');
			}
		};
		socket.setEncoding('utf8');
		socket.on('error', () => {}); // the screen reader is killed at the end
		socket.on('close', () => clearTimeout(timer));
		socket.on('data', (chunk) => {
			const lines = (rest + chunk).split('\r\n');
			rest = lines.pop();
			for (const line of lines) {
				if (!data) command(line);
				else if (line !== '.') data.push(line.replace(/^\.\./, '.'));
				else {
					const text = plain(data.join('\n'));
					data = undefined;
					say(text);
				}
			}
		});
	});
	await new Promise((resolve, reject) => server.on('error', reject).listen(path, resolve));
	return { heard, close: () => server.close() };
}

// plain is a text without its marks of the speech synthesis markup language, with ordinary
// spaces and apostrophes.
const plain = (ssml) => ssml.replace(/<[^>]*>/g, '')
	.replace(/&lt;/g, '<').replace(/&gt;/g, '>').replace(/&quot;/g, '"').replace(/&apos;/g, '\'').replace(/&amp;/g, '&')
	.replace(/[\s\u00a0\u202f]+/g, ' ').trim();
