package vault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

const (
	// followEvery is how often erasures are read, followTimeout bounds one look, and
	// staleAfter is how old the last may be: together less than ForgottenWithin.
	followEvery   = 10 * time.Second
	followTimeout = 5 * time.Second
	staleAfter    = ForgottenWithin - followEvery
	// overlap is how many numbers before the last are read again: an erasure may be committed
	// after one with a higher number.
	overlap = 1000
	// settleEvery is how often it is looked whether earlier writers have ended, and
	// settleTimeout for how long.
	settleEvery   = 5 * time.Millisecond
	settleTimeout = 10 * time.Second
	// scrubEvery is how often parts are written anew, scrubTimeout bounds one, and
	// scrubAgain is for how long after an erasure that is repeated: a transaction that
	// was open in the vault meanwhile has its rows copied.
	scrubEvery   = time.Minute
	scrubTimeout = 30 * time.Second
	scrubAgain   = 15 * time.Minute
	// cutOff is when an erasure counts as one that its process has not ended.
	cutOff = time.Minute
	// skew is how much longer than the other database one may know an erasure.
	skew = 24 * time.Hour
)

// NotErased is a condition of SQL: the key of the row is not erased. The statement must be the
// one that writes what the key has sealed, or one after it in its transaction.
func NotErased(keyID string) string {
	return `NOT EXISTS (SELECT FROM erased_member_key WHERE erased_member_key.id = ` + keyID + `)`
}

// CheckErased is ErrErased if a key was erased, in a transaction that has written what it
// sealed; the erasure is heeded from here on. ErrRetiring: it may be in a moment.
func (v *Vault) CheckErased(ctx context.Context, db postgres.Querier, id uuid.UUID) error {
	retiring, err := postgres.One[bool](ctx, db, "looking for an erasure", `SELECT retiring IS NOT NULL FROM erased_member_key WHERE id = $1`, id)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return err
	case retiring:
		return ErrRetiring
	}
	v.forget(id)
	return ErrErased
}

// Erase destroys the keys with these ids, and the one that the member has now, and returns all
// of them when nothing can be stored any more that they have sealed. What they sealed before,
// the caller erases then, and says so in the same transaction ([Vault.Ended]). If that does not
// come about, Reconcile returns the keys to whoever asks next.
func (v *Vault) Erase(ctx context.Context, member string, ids []uuid.UUID) ([]uuid.UUID, error) {
	if member == numbersOwner {
		return nil, errNumbersStay
	}
	// Its id is enough, also of a key that the key set does not open.
	now, err := postgres.One[uuid.UUID](ctx, v.DB, "looking for the key to erase", `SELECT id FROM member_key WHERE member = $1`, member)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, err
	}
	if err == nil && !slices.Contains(ids, now) {
		ids = append(slices.Clip(ids), now)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	list := make([]Erasure, len(ids))
	for i, id := range ids {
		list[i].ID = id
	}
	// The other way round, a process that ends in between would leave others storing what
	// nobody can open.
	if err := v.Refuse(ctx, list); err != nil {
		return nil, err
	}
	return ids, v.discard(ctx, []string{member}, list)
}

// Owned is a key's id with whose it is.
type Owned struct {
	MemberID string    `db:"member_id"`
	ID       uuid.UUID `db:"id"`
}

// Retire destroys keys that have sealed nothing that is stored: without returns which of some
// members that holds for. It is asked while nothing can be stored under these keys, for some
// milliseconds in which their members get ErrRetiring, so that nothing is lost with a key.
func (v *Vault) Retire(ctx context.Context, unused []Owned, without func(ctx context.Context, members []string) ([]string, error)) (destroyed int, err error) {
	unused = slices.DeleteFunc(slices.Clone(unused), func(owned Owned) bool { return owned.MemberID == numbersOwner })
	if len(unused) == 0 {
		return 0, nil
	}
	members, ids := make([]string, len(unused)), make([]uuid.UUID, len(unused))
	for i, owned := range unused {
		members[i], ids[i] = owned.MemberID, owned.ID
	}
	run, err := uuid.NewRandom()
	if err != nil {
		return 0, fmt.Errorf("drawing an id: %w", err)
	}
	if _, err := postgres.Exec(ctx, v.Data, "retiring keys", `INSERT INTO erased_member_key (id, retiring) SELECT unnest($1::uuid[]), $2 ON CONFLICT DO NOTHING`, ids, run); err != nil {
		return 0, err
	}
	gone := []Erasure{}
	err = v.settle(ctx)
	if err == nil {
		var still []string
		if still, err = without(ctx, members); err == nil {
			gone, err = v.retired(ctx, run, unused, still)
		}
	}
	// Those that have sealed something since stay. After a fault, all do.
	_, undone := postgres.Exec(ctx, v.Data, "keeping keys", `DELETE FROM erased_member_key WHERE id = ANY($1) AND retiring = $2`, ids, run)
	for _, one := range gone {
		v.forget(one.ID)
	}
	if err := errors.Join(err, undone); err != nil || len(gone) == 0 {
		return 0, err
	}
	return len(gone), v.discard(ctx, members, gone)
}

// retired notes that keys of some members are erased, and returns them. Those that somebody
// has let go in the meantime are not, nor those that another run looks into.
func (v *Vault) retired(ctx context.Context, run uuid.UUID, unused []Owned, members []string) ([]Erasure, error) {
	var ids []uuid.UUID
	for _, owned := range unused {
		if slices.Contains(members, owned.MemberID) {
			ids = append(ids, owned.ID)
		}
	}
	return postgres.Many[Erasure](ctx, v.Data, "noting retired keys", `
		UPDATE erased_member_key SET retiring = NULL, seq = DEFAULT, erased_at = now(), ended_at = now() WHERE id = ANY($1) AND retiring = $2
		RETURNING `+erasureColumns, ids, run)
}

// Erasure is that of a key.
type Erasure struct {
	ID uuid.UUID `db:"id"`
	// ErasedAt is when it was; nil: now.
	ErasedAt *time.Time `db:"erased_at"`
}

var (
	erasures       = postgres.RowsOf[Erasure]()
	erasureColumns = postgres.Columns[Erasure]()

	discardSQL = `
		WITH given AS (
			SELECT * FROM ` + erasures.From("given", 2) + `
		), gone AS (
			DELETE FROM member_key WHERE member = ANY($1) AND id IN (SELECT id FROM given) RETURNING id, tableoid::regclass::text AS lies_in
		)
		INSERT INTO erased_key (id, erased_at, lies_in) SELECT given.id, coalesce(erased_at, now()), lies_in FROM given LEFT JOIN gone USING (id)
		ON CONFLICT (id) DO UPDATE SET lies_in = coalesce(excluded.lies_in, erased_key.lies_in)`
	// A key that was retiring is given a new number, so that everybody hears of it.
	refuseSQL = `INSERT INTO erased_member_key (id, erased_at) SELECT id, coalesce(erased_at, now()) FROM ` + erasures.From("given", 1) + `
		ON CONFLICT (id) DO UPDATE SET retiring = NULL, seq = DEFAULT WHERE erased_member_key.retiring IS NOT NULL`
)

// discard deletes keys of members from the vault, and notes where they lay.
func (v *Vault) discard(ctx context.Context, members []string, list []Erasure) error {
	if len(list) == 0 {
		return nil
	}
	_, err := postgres.Exec(ctx, v.DB, "destroying keys", discardSQL, erasures.Args(list, members)...)
	return err
}

// Ended notes that what these keys had sealed is erased.
func (v *Vault) Ended(ctx context.Context, db postgres.Querier, ids []uuid.UUID) error {
	_, err := postgres.Exec(ctx, db, "noting the end of an erasure", `UPDATE erased_member_key SET ended_at = now() WHERE id = ANY($1) AND ended_at IS NULL`, ids)
	return err
}

// Refuse has nothing stored any more that these keys have sealed: it writes their ids into
// messaging's database, and returns when all transactions have ended that were writing then.
func (v *Vault) Refuse(ctx context.Context, list []Erasure) error {
	if _, err := postgres.Exec(ctx, v.Data, "noting erased keys", refuseSQL, erasures.Args(list)...); err != nil {
		return err
	}
	for _, one := range list {
		v.forget(one.ID)
	}
	return v.settle(ctx)
}

// settle waits for the end of all transactions that may be storing what was sealed: a
// statement locks its table before it takes the snapshot in which it looks for erasures.
func (v *Vault) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	const writing = `
		SELECT DISTINCT virtualtransaction FROM pg_locks
		WHERE locktype = 'relation' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
		  AND relation IN ('conversation'::regclass, 'member'::regclass, 'draft'::regclass) AND mode = 'RowExclusiveLock' AND granted`
	earlier, err := postgres.Many[string](ctx, v.Data, "looking for writers", writing)
	for err == nil && len(earlier) > 0 {
		if !chassis.Sleep(ctx, settleEvery) {
			return fmt.Errorf("waiting for %d transactions that were writing: %w", len(earlier), ctx.Err())
		}
		var now []string
		now, err = postgres.Many[string](ctx, v.Data, "looking for writers", writing)
		earlier = slices.DeleteFunc(earlier, func(one string) bool { return !slices.Contains(now, one) })
	}
	return err
}

// forget heeds erasures in this process.
func (v *Vault) forget(ids ...uuid.UUID) {
	v.mu.Lock()
	news := false
	for _, id := range ids {
		if _, known := v.erased[id]; !known {
			v.erased[id], news = struct{}{}, true
		}
	}
	v.mu.Unlock()
	if !news {
		return
	}
	for _, key := range v.keys.Values() {
		if v.isErased(key.ID) {
			v.keys.Remove(key.member)
		}
	}
}

func (v *Vault) isErased(id uuid.UUID) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, erased := v.erased[id]
	return erased
}

// fresh is ErrStale if keys may have been erased that this process does not know of.
func (v *Vault) fresh() error {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if time.Since(v.heard) > staleAfter {
		return ErrStale
	}
	return nil
}

// follow reads which keys other processes have erased, and looks whether the vault is there.
func (v *Vault) follow(ctx context.Context) {
	for chassis.Sleep(ctx, followEvery) {
		v.ping(ctx)
		if err := v.hear(ctx); err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "reading which keys were erased", "error", err)
		}
		if v.away.Load() == nil {
			v.healOnce(ctx)
		}
	}
}

func (v *Vault) healOnce(ctx context.Context) {
	healing, cancel := context.WithTimeout(ctx, followTimeout)
	defer cancel()
	if err := v.heal(healing); err != nil && ctx.Err() == nil && !postgres.IsUnreachable(err) {
		slog.WarnContext(ctx, "comparing the keys in memory with the vault; it is tried again", "error", err)
	}
}

// numbered is a row of messaging's table erased_member_key.
type numbered struct {
	ID  uuid.UUID `db:"id"`
	Seq int64     `db:"seq"`
}

// hear reads the erasures since the last look.
func (v *Vault) hear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, followTimeout)
	defer cancel()
	v.mu.RLock()
	newest := v.newest
	v.mu.RUnlock()
	began := time.Now()
	// In a database that came back from before, numbers are given again.
	list, err := postgres.Many[numbered](ctx, v.Data, "reading erasures", `SELECT id, seq FROM erased_member_key
		WHERE seq > least($1, (SELECT max(seq) FROM erased_member_key)) - $2 AND retiring IS NULL ORDER BY seq`, newest, overlap)
	if err != nil {
		return err
	}
	ids := make([]uuid.UUID, len(list))
	for i, one := range list {
		ids[i] = one.ID
	}
	v.forget(ids...)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.heard = began
	if len(list) > 0 {
		v.newest = list[len(list)-1].Seq
	}
	return nil
}

// Reconcile has both databases know the same erasures, and must be called before anything is
// answered. If the vault lacks one, it came back from before, or a process ended before it got
// there: the key is destroyed. If messaging's database lacks one, that came back from before.
// Nothing can be stored any more that these have sealed, and Reconcile returns them, with those
// that have not ended for a while, for the caller to erase what was stored before and call
// [Vault.Ended]. Until then it is as unreadable as it was.
func (v *Vault) Reconcile(ctx context.Context) (again []uuid.UUID, err error) {
	again = []uuid.UUID{} // NULL would be none of them and all
	if err := v.hear(ctx); err != nil {
		return nil, err
	}
	// Of a process that was cut off: until this, its member cannot write.
	if _, err := postgres.Exec(ctx, v.Data, "ending what was retiring", `DELETE FROM erased_member_key WHERE retiring IS NOT NULL AND erased_at < now() - $1::interval`, cutOff); err != nil {
		return nil, err
	}
	here, err := v.knownIn(ctx, v.Data, "erased_member_key WHERE retiring IS NULL")
	if err != nil {
		return nil, err
	}
	there, err := v.knownIn(ctx, v.DB, "erased_key WHERE true")
	if err != nil {
		return nil, err
	}
	if back := without(here, there); len(back) > 0 {
		slog.WarnContext(ctx, "destroying erased keys again: the vault came back from before, or an erasure was cut off", "keys", len(back))
		if err := v.discardAgain(ctx, back); err != nil {
			return nil, err
		}
	}
	if unheard := without(there, here); len(unheard) > 0 {
		if err := v.Refuse(ctx, unheard); err != nil {
			return nil, err
		}
		for _, one := range unheard {
			again = append(again, one.ID)
		}
	}
	open, err := postgres.Many[uuid.UUID](ctx, v.Data, "looking for erasures that were cut off",
		`SELECT id FROM erased_member_key WHERE ended_at IS NULL AND retiring IS NULL AND erased_at < now() - $1::interval AND id <> ALL ($2)`, cutOff, again)
	return append(again, open...), err
}

// without returns those erasures of one list that another does not have.
func without(list, other []Erasure) (rest []Erasure) {
	has := make(map[uuid.UUID]bool, len(other))
	for _, one := range other {
		has[one.ID] = true
	}
	for _, one := range list {
		if !has[one.ID] {
			rest = append(rest, one)
		}
	}
	return rest
}

// knownIn reads which erasures a database knows.
func (v *Vault) knownIn(ctx context.Context, db postgres.Querier, from string) ([]Erasure, error) {
	sql, args := `SELECT `+erasureColumns+` FROM `+from, []any{}
	if v.Remember > 0 {
		sql, args = sql+` AND erased_at > now() - $1::interval`, append(args, v.Remember-skew)
	}
	return postgres.Many[Erasure](ctx, db, "reading erasures", sql, args...)
}

// discardAgain deletes keys from a vault that came back. It does not know whose they were, and
// reads all.
func (v *Vault) discardAgain(ctx context.Context, list []Erasure) error {
	ids := make([]uuid.UUID, len(list))
	for i, one := range list {
		ids[i] = one.ID
	}
	members, err := postgres.Many[string](ctx, v.DB, "looking for erased keys", `SELECT member FROM member_key WHERE id = ANY($1)`, ids)
	if err != nil {
		return err
	}
	return v.discard(ctx, members, list)
}

// partName is a part of member_key.
var partName = regexp.MustCompile(`^member_key_[0-9]+$`)

// scrub writes the parts anew that keys were deleted from.
func (v *Vault) scrub(ctx context.Context) {
	for chassis.Sleep(ctx, scrubEvery) {
		if err := v.scrubOnce(ctx); err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "writing parts of the vault anew after erasures; it is tried again", "error", err)
		}
	}
}

// dueSQL are keys whose part is to be written anew: not yet since their erasure, or, as somebody
// may have had a copy of their row made since, not yet scrubAgain after it.
const dueSQL = `lies_in IS NOT NULL AND (scrubbed_at IS NULL OR erased_at <= now() - $1::interval)`

func (v *Vault) scrubOnce(ctx context.Context) error {
	parts, err := postgres.Many[string](ctx, v.DB, "looking for parts with erased keys", `SELECT DISTINCT lies_in FROM erased_key WHERE `+dueSQL, scrubAgain)
	if err != nil {
		return err
	}
	var faults []error
	for _, part := range parts {
		if !partName.MatchString(part) {
			return fmt.Errorf("%q is no part of the vault", part)
		}
		faults = append(faults, v.scrubPart(ctx, part))
	}
	return errors.Join(faults...)
}

// scrubPart writes a part anew, for which whoever looks a key up in it waits some
// milliseconds, and a second at most while somebody else, such as a dump, holds it. Of several
// processes, one does.
func (v *Vault) scrubPart(ctx context.Context, part string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, scrubTimeout)
	defer cancel()
	conn, err := v.DB.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	alone, err := postgres.One[bool](ctx, conn, "keeping others from a part", `SELECT pg_try_advisory_lock('member_key'::regclass::oid::bigint)`)
	if err != nil || !alone {
		return err
	}
	defer func() { err = errors.Join(err, unlock(ctx, conn)) }()
	began, err := postgres.One[time.Time](ctx, conn, "reading the time", `SELECT now() FROM erased_key WHERE lies_in = $2 AND `+dueSQL+` LIMIT 1`, scrubAgain, part)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // another process has, since
	}
	if err != nil {
		return err
	}
	if err := vacuum(ctx, conn, part); err != nil {
		return fmt.Errorf("writing %s anew: %w", part, err)
	}
	_, err = postgres.Exec(ctx, conn, "noting that a part was written anew", `
		UPDATE erased_key SET scrubbed_at = $2, lies_in = CASE WHEN erased_at > $2::timestamptz - $3::interval THEN lies_in END
		WHERE lies_in = $1 AND erased_at <= $2`, part, began, scrubAgain)
	return err
}

// unlock lets others at the parts. A session whose call was cut off is closed, and its lock with
// it.
func unlock(ctx context.Context, conn *pgxpool.Conn) error {
	_, err := conn.Exec(ctx, `SELECT pg_advisory_unlock('member_key'::regclass::oid::bigint)`)
	if err != nil {
		err = errors.Join(err, conn.Conn().Close(ctx))
	}
	return err
}

func vacuum(ctx context.Context, conn *pgxpool.Conn, part string) error {
	if _, err := conn.Exec(ctx, `SET lock_timeout = '1s'`); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, `VACUUM (FULL) `+pgx.Identifier{part}.Sanitize())
	_, reset := conn.Exec(ctx, `RESET lock_timeout`)
	return errors.Join(err, reset)
}

// Forget deletes some of what is known of erasures, in both databases.
func (v *Vault) Forget(ctx context.Context, term time.Duration) (int64, error) {
	here, err := postgres.Exec(ctx, v.Data, "forgetting erasures", `DELETE FROM erased_member_key WHERE id = ANY (ARRAY(
		SELECT id FROM erased_member_key WHERE erased_at <= now() - $1::interval ORDER BY erased_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, term, postgres.ForgetBatch)
	if err != nil {
		return 0, err
	}
	there, err := postgres.Exec(ctx, v.DB, "forgetting erasures", `DELETE FROM erased_key WHERE id = ANY (ARRAY(
		SELECT id FROM erased_key WHERE erased_at <= now() - $1::interval AND lies_in IS NULL ORDER BY erased_at LIMIT $2 FOR UPDATE SKIP LOCKED))`, term, postgres.ForgetBatch)
	return max(here, there), err
}
