// Signing in: the code flow with PKCE, as a public client. What is kept is in the tab's
// session storage: it outlives a reload, and ends with the tab. Any script of this origin
// can read it, so the page loads none but its own (index.html, Content-Security-Policy).
import * as oauth from 'oauth4webapi';

/** Session is who is signed in. */
export interface Session {
	token: string;
	idToken: string;
	name: string;
	profiles: string[];
}

/** Leaving is what must still be known when the provider sends the person back. */
interface Leaving {
	verifier: string;
	state: string;
	nonce: string;
	hash: string;
}

const issuer = new URL(ISSUER);
const client: oauth.Client = { client_id: CLIENT };
const here = `${location.origin}${location.pathname}`;
// A provider on this machine has no certificate.
const options = { [oauth.allowInsecureRequests]: issuer.protocol === 'http:' };

const provider = async (): Promise<oauth.AuthorizationServer> =>
	oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, options));

/** session is the signed-in person's, or null. */
export function session(): Session | null {
	return load<Session>('session');
}

/** signIn leaves for the provider; the person comes back to the same page. */
export async function signIn(): Promise<void> {
	sessionStorage.removeItem('session');
	const verifier = oauth.generateRandomCodeVerifier();
	const leaving: Leaving = { verifier, state: oauth.generateRandomState(), nonce: oauth.generateRandomNonce(), hash: location.hash };
	const address = new URL((await provider()).authorization_endpoint ?? '');
	address.search = new URLSearchParams({
		client_id: CLIENT, redirect_uri: here, response_type: 'code', scope: 'openid', state: leaving.state, nonce: leaving.nonce,
		code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
	}).toString();
	sessionStorage.setItem('leaving', JSON.stringify(leaving));
	location.assign(address);
}

/** comeBack takes the provider's answer out of the address, if it is there, and signs the person in. */
export async function comeBack(): Promise<void> {
	const address = new URL(location.href);
	const leaving = load<Leaving>('leaving');
	if (!leaving || !address.searchParams.has('state')) return;
	sessionStorage.removeItem('leaving');
	history.replaceState(null, '', here + leaving.hash);
	const server = await provider();
	const answer = oauth.validateAuthResponse(server, client, address, leaving.state);
	const response = await oauth.authorizationCodeGrantRequest(server, client, oauth.None(), answer, here, leaving.verifier, options);
	const tokens = await oauth.processAuthorizationCodeResponse(server, client, response, { expectedNonce: leaving.nonce, requireIdToken: true });
	const claims = oauth.getValidatedIdTokenClaims(tokens);
	const profiles = claims?.['profiles'], name = claims?.['name'];
	const signedIn: Session = {
		token: tokens.access_token,
		idToken: tokens.id_token ?? '',
		name: typeof name === 'string' ? name : '',
		profiles: Array.isArray(profiles) ? profiles.filter((p) => typeof p === 'string') : [],
	};
	sessionStorage.setItem('session', JSON.stringify(signedIn));
}

/** signOut forgets everything here and at the provider. */
export async function signOut(): Promise<void> {
	const idToken = session()?.idToken ?? '';
	sessionStorage.clear();
	const address = new URL((await provider()).end_session_endpoint ?? here);
	address.search = new URLSearchParams({ id_token_hint: idToken, post_logout_redirect_uri: here }).toString();
	location.assign(address);
}

/** load reads what this page has stored; null when there is nothing. */
export function load<T>(key: string): T | null {
	return JSON.parse(sessionStorage.getItem(key) ?? 'null') as T | null;
}
