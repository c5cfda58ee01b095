// Builds the pages into dist, or with `serve` serves them on this machine, built anew at
// each reload. Settings, with what `make run` has as their defaults:
//
//	API     the gateway
//	ISSUER  the OpenID provider of members
//	CLIENT  what it knows this front end by
//	PORT    where to serve
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { context } from 'esbuild';

const { API = 'http://127.0.0.1:8080', ISSUER = 'http://127.0.0.1:5556/usagers', CLIENT = 'front-end', PORT = '5173' } = process.env;

const serve = process.argv[2] === 'serve';
// What is served has a folder for each port: others may be served with other settings.
const outdir = serve ? `.serve/${PORT}` : 'dist';
const build = await context({
	entryPoints: ['src/main.ts'],
	bundle: true,
	format: 'esm',
	target: 'es2023',
	outdir,
	minify: true,
	sourcemap: true,
	define: { API: JSON.stringify(API), ISSUER: JSON.stringify(ISSUER), CLIENT: JSON.stringify(CLIENT) },
});
await build.rebuild();
// The page may talk to these two and to nobody else.
const policy = `default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src ${new URL(API).origin} ${new URL(ISSUER).origin}; base-uri 'none'; form-action 'none'`;
await mkdir(outdir, { recursive: true });
await writeFile(`${outdir}/index.html`, (await readFile('src/index.html', 'utf8')).replace('POLICY', policy));
await cp('src/style.css', `${outdir}/style.css`);

if (serve) {
	await build.serve({ host: 'localhost', port: Number(PORT), servedir: outdir });
	console.log(`http://localhost:${PORT}/`);
} else {
	await build.dispose();
}
