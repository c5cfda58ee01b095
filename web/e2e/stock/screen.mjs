// A desktop of its own with the screen reader Orca, in French, and one stock browser on it.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { launch, until } from './people.mjs';
import { voice } from './voice.mjs';

const run = promisify(execFile);

/** Starts Xvfb, the bus of assistive technology, Orca and the browser. */
export async function desktop(name) {
	const home = await mkdtemp(join(tmpdir(), 'heard-'));
	const ends = [() => rm(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 200 })];
	const stop = async () => { for (const end of ends.reverse()) await end(); };
	const start = (program, args, env, ...more) => {
		const child = spawn(program, args, { env, stdio: ['ignore', 'ignore', 'ignore', ...more] });
		const gone = new Promise((resolve) => { child.on('exit', resolve).on('error', resolve); });
		ends.push(() => { child.kill('SIGKILL'); return gone; });
		return child;
	};
	try {
		await mkdir(join(home, 'run'), { mode: 0o700 });
		const said = await voice(join(home, 'voice'));
		ends.push(said.close);
		const env = {
			// Orca is for the system's Python.
			PATH: `/usr/bin:${process.env.PATH}`, HOME: home, XDG_RUNTIME_DIR: join(home, 'run'), LANG: 'C.UTF-8', LANGUAGE: 'fr',
			DBUS_SESSION_BUS_ADDRESS: process.env.DBUS_SESSION_BUS_ADDRESS, GNOME_ACCESSIBILITY: '1', SPEECHD_ADDRESS: `unix_socket:${join(home, 'voice')}`,
		};
		const xvfb = start('Xvfb', ['-displayfd', '3', '-screen', '0', '1280x900x24', '-nolisten', 'tcp'], env, 'pipe');
		const [number] = await once(xvfb.stdio[3], 'data');
		env.DISPLAY = `:${String(number).trim()}`;
		start('/usr/libexec/at-spi-bus-launcher', ['--launch-immediately'], env);
		const enable = ['call', '--session', '--dest', 'org.a11y.Bus', '--object-path', '/org/a11y/bus', '--method', 'org.freedesktop.DBus.Properties.Set', 'org.a11y.Status', 'ScreenReaderEnabled', '<true>'];
		await until('the bus of assistive technology is there', () => run('gdbus', enable, { env }).then(() => true, () => false));
		start('orca', ['--disable=braille'], env);
		await until('Orca speaks (it does not beside another of the same user)', () => said.heard.length > 0);
		// Chromium offers to translate, in a window of its own.
		const profile = join(home, 'chromium');
		await mkdir(join(profile, 'Default'), { recursive: true });
		await writeFile(join(profile, 'Default', 'Preferences'), JSON.stringify({ translate: { enabled: false } }));
		const browser = await launch(name, { window: true, env, profile });
		ends.push(() => browser.close());
		const xdo = (...args) => run('xdotool', args, { env });
		return { browser, said: said.heard, keys: (...names) => xdo('key', '--delay', '60', ...names), type: (text) => xdo('type', '--delay', '60', text), click: (x, y) => xdo('mousemove', String(x), String(y), 'click', '1'), stop };
	} catch (error) {
		await stop();
		throw error;
	}
}
