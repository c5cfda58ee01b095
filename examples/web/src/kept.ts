import { load } from './signin';

/**
 * Kept is something to be sent once. It is in the session storage with its idempotency
 * key, which stays the same for as long as the content does: what is sent again because no
 * answer came, after a reload too, is the same message to the gateway, and not a second one.
 */
export class Kept<T extends object> {
	constructor(private readonly name: string, private readonly empty: T) {}

	get(): T & { key: string } {
		const stored = load<T & { key: string }>(this.name);
		if (stored) return stored;
		return this.store({ ...this.empty, key: crypto.randomUUID() });
	}

	/** change draws a new key if anything is different from before. */
	change(patch: Partial<T>): void {
		const before = this.get();
		const after = { ...before, ...patch };
		if (JSON.stringify(after) !== JSON.stringify(before)) this.store({ ...after, key: crypto.randomUUID() });
	}

	forget(): void {
		sessionStorage.removeItem(this.name);
	}

	private store(value: T & { key: string }): T & { key: string } {
		sessionStorage.setItem(this.name, JSON.stringify(value));
		return value;
	}
}
