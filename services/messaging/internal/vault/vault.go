// Package vault seals what members and agents write, and how members are reached, before it
// comes to the database, and opens it again.
//
// # What is promised
//
// Whoever has messaging's database alone reads none of it, key set or not. Each ciphertext is
// bound to the row it belongs to (associated data): a text that was moved to another
// conversation, message, author, note, draft, agent or member does not open.
//
// What a member has had erased opens from no copy of messaging's database, however old,
// from the moment at which [Vault.Erase] returns; every process has forgotten the key
// [ForgottenWithin] later. A vault that comes back from before an erasure opens it no more
// than before: see [Vault.Reconcile]. Nothing is sealed by an erased key and kept.
//
// # How
//
// Every member has a key of their own, 32 random bytes, in a database of its own: the vault,
// whose backups are short and are not kept beside messaging's. There it is encrypted
// ("wrapped") by the key set, which is tink's: its primary key wraps, the others still unwrap.
// The keys of a member's conversations, drafts and contact points are derived from it (HKDF)
// and nowhere stored. A row in messaging's database has the id of the key that it was sealed
// by. A member's first key is committed before anything that it seals.
//
// An erasure writes the key's id, which says nothing about anybody, into messaging's database;
// writers check that in the transaction in which they store what they sealed ([NotErased]),
// and the erasure waits for those that began before it. Then the member's row goes from the
// vault, which notes the id too, and then what the key has sealed. The file that the row lay in is written anew, so that no trace of it stays in the vault.
//
// PostgreSQL keeps no statistics of these columns, which would be copies of keys.
//
// Keys that were used lately are kept in memory, bounded, so that what is written by members
// who were seen needs the vault no more, and goes on while it is away. A vault whose server has
// become another one that lacks some of them gets them back.
//
// # Members' numbers
//
// The fund's identifier of a member is sealed like their contact points. So that it can be
// looked for, a keyed hash of it is stored too ([Vault.HashNumber]), by one key for all, which
// lies among the members' keys under an owner who is none of them. Equal numbers have equal
// hashes: a copy of messaging's database shows which accounts are one person's, and nothing of
// the number; with the vault and the key set too, numbers can be tried out.
//
// # The key set
//
// The key set may come from a file that is read again every ten seconds, so that keys are added,
// made primary and removed without a restart ([Vault.CheckKeyset]). A constant in the vault that
// it has sealed shows that it fits; one that does not is never used. Each process notes in the
// vault which keys it has, and [Vault.Rewrap] wraps anew, page by page, what another key than the
// primary one wraps. In this order nothing fails: all processes have a key, it wraps, all is
// wrapped by it, the one before it goes.
//
// # When it breaks
//
// Whoever loses the vault or the key set loses every text. Whoever has a copy of the vault
// from before an erasure, and of messaging's database, and the key set, reads what was erased:
// hence the short backups. A vault and a messaging that both come back from before an erasure
// know nothing of it.
package vault

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/ma-messagerie/messagerie/chassis/batch"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

var (
	// ErrErased is for a key that was erased, and what it sealed with it.
	ErrErased = errors.New("the key was erased")
	// ErrLost is for a key that the vault does not have, and nobody has erased.
	ErrLost = errors.New("the vault does not have the key")
	// ErrUnopened is for a key that the key set does not open.
	ErrUnopened = errors.New("the key set does not open the key")
	// ErrRetiring is for a key of which it is being looked whether it has sealed anything; try again.
	ErrRetiring = errors.New("the key is being retired")
	// ErrStale says that it is not known lately enough which keys were erased.
	ErrStale = errors.New("erasures could not be read for too long")
)

const (
	// ForgottenWithin is how long a process may remember a key after its erasure.
	ForgottenWithin = time.Minute
	// LeastRemembered is the shortest term of what is known of erasures.
	LeastRemembered = 30 * 24 * time.Hour
	// kept is how many members' keys a process remembers, some 10 MB.
	kept = 50_000
	// maxLookups bounds one query, and lookupTimeout how long it takes.
	maxLookups    = 512
	lookupTimeout = 5 * time.Second
)

// Config is what New needs.
type Config struct {
	// DB is the vault's database, and Data messaging's.
	DB, Data *pgxpool.Pool
	// Keyset is the one at the start.
	Keyset *Keyset
	// KeysetPath is the file that it came from, which is read again every KeysetEvery, ten
	// seconds if that is 0; empty: it stays.
	KeysetPath  string
	KeysetEvery time.Duration
	// OpenKeyset reads what the file has: the function OpenKeyset, if it is nil, or that of
	// a [KEK].
	OpenKeyset func(content string) (*Keyset, error)
	// Remember is how long it is known which keys were erased, in both databases: as long as
	// a backup of messaging's may be kept. 0: for ever.
	Remember time.Duration
}

// Vault has the keys of all members.
type Vault struct {
	Config
	lookups *batch.Group[ask, Key]
	// keyset is the one that is used.
	keyset atomic.Pointer[Keyset]
	// refused is a digest of what the file last had that was not taken; rereading guards it.
	refused   [sha256.Size]byte
	rereading sync.Mutex
	// process is this one's id among those that note which keys they have.
	process uuid.UUID

	keys *lru.Cache[string, Key] // by member
	// server is since when the server ran that last was found to have all of keys.
	server atomic.Pointer[time.Time]
	// away is the error of the last look at the vault, if it failed.
	away atomic.Pointer[error]

	mu     sync.RWMutex
	erased map[uuid.UUID]struct{}
	// newest is the number of the last erasure that was read, and heard when that was.
	newest int64
	heard  time.Time
}

// ask is a question for a member's key, to be made if there is none.
type ask struct {
	member string
	make   bool
}

// New returns a vault, which answers once Reconcile has been called and while Run runs.
func New(cfg Config) *Vault {
	if cfg.KeysetEvery == 0 {
		cfg.KeysetEvery = followEvery
	}
	if cfg.OpenKeyset == nil {
		cfg.OpenKeyset = OpenKeyset
	}
	keys, err := lru.New[string, Key](kept)
	if err != nil {
		panic(err) // a size below 1
	}
	v := &Vault{Config: cfg, keys: keys, erased: make(map[uuid.UUID]struct{}), process: uuid.New()}
	v.keyset.Store(cfg.Keyset)
	v.lookups = batch.New(batch.Config[ask, Key]{Do: v.look, Most: maxLookups, Timeout: lookupTimeout})
	return v
}

// Run answers, follows erasures by other processes and clears away what they leave, until ctx
// is done.
func (v *Vault) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { v.lookups.Run(ctx); return nil })
	group.Go(func() error { v.follow(ctx); return nil })
	group.Go(func() error { v.scrub(ctx); return nil })
	group.Go(func() error { v.followKeyset(ctx); return nil })
	return group.Wait()
}

// Reachable is the error of the last look at the vault's database, which is taken every ten
// seconds. Without it, members whose keys are in memory go on.
func (v *Vault) Reachable(context.Context) error {
	if err := v.away.Load(); err != nil {
		return *err
	}
	return nil
}

// ping looks whether the vault is there.
func (v *Vault) ping(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, followTimeout)
	defer cancel()
	err := postgres.Writable(ctx, v.DB)
	if err == nil {
		v.away.Store(nil)
		return
	}
	v.away.Store(&err)
}

// heal looks, after the vault's server has become another one, whether it has all keys that this
// process remembers: one that took over without the last commits, or came back from a backup,
// may lack some, and they go in again. In place of one that was made anew meanwhile, nothing is
// sealed any more.
func (v *Vault) heal(ctx context.Context) error {
	server, err := postgres.One[time.Time](ctx, v.DB, "looking since when the server runs", `SELECT pg_postmaster_start_time()`)
	if last := v.server.Load(); err != nil || last != nil && server.Equal(*last) {
		return err
	}
	for remembered := range slices.Chunk(v.keys.Values(), maxLookups) {
		if err := v.healSome(ctx, remembered); err != nil {
			return err
		}
	}
	v.server.Store(&server)
	return nil
}

func (v *Vault) healSome(ctx context.Context, remembered []Key) error {
	members, lacking := make([]string, len(remembered)), make(map[string]Key, len(remembered))
	for i, key := range remembered {
		members[i], lacking[key.member] = key.member, key
	}
	there, err := postgres.Many[keyRow](ctx, v.DB, "comparing keys", lookSQL, members)
	if err != nil {
		return err
	}
	for _, row := range there {
		if lacking[row.Member].ID != row.ID {
			v.keys.Remove(row.Member)
		}
		delete(lacking, row.Member)
	}
	if len(lacking) == 0 {
		return nil
	}
	// An erasure is noted in messaging's database before the key goes: it is known from here on.
	if err := v.hear(ctx); err != nil {
		return err
	}
	var again []keyRow
	for _, key := range lacking {
		if v.isErased(key.ID) {
			continue
		}
		wrapped, err := v.keyset.Load().wrap(key.ID, key.member, key.secret)
		if err != nil {
			return err
		}
		again = append(again, keyRow{key.member, key.ID, wrapped})
	}
	if len(again) == 0 {
		return nil
	}
	slices.SortFunc(again, func(a, b keyRow) int { return strings.Compare(a.Member, b.Member) })
	n, err := postgres.Exec(ctx, v.DB, "storing keys again", makeSQL, keyRows.Args(again)...)
	slog.WarnContext(ctx, "stored keys again that the vault had lost: it came back from before", "keys", n, "error", err)
	return err
}

// Of returns the key of a member, made if they have none.
func (v *Vault) Of(ctx context.Context, member string) (Key, error) {
	if err := v.fresh(); err != nil {
		return Key{}, err
	}
	if key, ok := v.keys.Get(member); ok && !v.isErased(key.ID) {
		return key, nil
	}
	return v.lookups.Submit(ctx, ask{member, true})
}

// Key returns the key with an id of a member's: ErrErased if it was erased, ErrLost if there
// is none.
func (v *Vault) Key(ctx context.Context, member string, id uuid.UUID) (Key, error) {
	key, err := v.Held(member, id)
	var needed *NeededError
	if !errors.As(err, &needed) {
		return key, err
	}
	key, err = v.lookups.Submit(ctx, ask{member, false})
	if err == nil && key.ID == id || err != nil && !errors.Is(err, ErrLost) {
		return key, err
	}
	return Key{}, v.missing(ctx, id)
}

// NeededError names a key that is not in memory.
type NeededError struct {
	Member string
	ID     uuid.UUID
}

func (e *NeededError) Error() string { return "key " + e.ID.String() + " is not in memory" }

// Held returns a key that is in memory, for those who hold locks and must not wait; else a
// [NeededError], after which they are to let go, call Key, and try again.
func (v *Vault) Held(member string, id uuid.UUID) (Key, error) {
	if err := v.fresh(); err != nil {
		return Key{}, err
	}
	if v.isErased(id) {
		return Key{}, ErrErased
	}
	if key, ok := v.keys.Get(member); ok && key.ID == id {
		return key, nil
	}
	return Key{}, &NeededError{member, id}
}

// Load brings the keys of members into memory, as far as there are any, by few queries.
func (v *Vault) Load(ctx context.Context, members []string) error {
	var waits []func() (Key, error)
	for _, member := range members {
		if v.keys.Contains(member) {
			continue
		}
		wait, err := v.lookups.Enqueue(ctx, ask{member, false})
		if err != nil {
			return err
		}
		waits = append(waits, wait)
	}
	for _, wait := range waits {
		if _, err := wait(); err != nil && !errors.Is(err, ErrLost) && !errors.Is(err, ErrUnopened) {
			return err
		}
	}
	return nil
}

// keyRow is a row of the table member_key.
type keyRow struct {
	Member  string    `db:"member"`
	ID      uuid.UUID `db:"id"`
	Wrapped []byte    `db:"wrapped"`
}

var (
	keyRows    = postgres.RowsOf[keyRow]()
	keyColumns = postgres.Columns[keyRow]()
	// One by one, so that each looks into one part alone.
	lookSQL = `SELECT ` + keyColumns + ` FROM unnest($1::text[]) AS asked (who),
		LATERAL (SELECT ` + keyColumns + ` FROM member_key WHERE member = asked.who) AS found`
	makeSQL = `INSERT INTO member_key (` + keyRows.Columns() + `) SELECT * FROM ` + keyRows.From("given", 1) + ` ON CONFLICT (member) DO NOTHING`
)

// look answers everyone in a batch.
func (v *Vault) look(ctx context.Context, asks []ask) ([]batch.Result[Key], error) {
	found, back, err := v.find(ctx, asks, func(ask) bool { return true })
	if err != nil {
		return nil, err
	}
	lacks := func(a ask) bool { _, has := found[a.member]; return a.make && !has }
	if made, err := v.draw(asks, lacks); err != nil {
		return nil, err
	} else if len(made) > 0 {
		if err := v.discard(ctx, membersOf(made), back); err != nil {
			return nil, err
		}
		if _, err := postgres.Exec(ctx, v.DB, "storing new keys", makeSQL, keyRows.Args(made)...); err != nil {
			return nil, err
		}
		// Another process may have been first.
		stored, _, err := v.find(ctx, asks, lacks)
		if err != nil {
			return nil, err
		}
		maps.Copy(found, stored)
	}
	results := make([]batch.Result[Key], len(asks))
	for i, a := range asks {
		results[i] = batch.Result[Key]{Err: ErrLost}
		if result, has := found[a.member]; has {
			results[i] = result
		}
	}
	return results, nil
}

func membersOf(rows []keyRow) []string {
	members := make([]string, len(rows))
	for i, row := range rows {
		members[i] = row.Member
	}
	return members
}

// draw makes a key for each member whom which selects, once.
func (v *Vault) draw(asks []ask, which func(ask) bool) (made []keyRow, err error) {
	drawn := make(map[string]bool)
	for _, a := range asks {
		if !which(a) || drawn[a.member] {
			continue
		}
		drawn[a.member] = true
		id, err := uuid.NewRandom()
		if err != nil {
			return nil, fmt.Errorf("drawing a key's id: %w", err)
		}
		secret := make([]byte, secretBytes)
		if _, err := rand.Read(secret); err != nil {
			return nil, fmt.Errorf("drawing a key: %w", err)
		}
		wrapped, err := v.keyset.Load().wrap(id, a.member, secret)
		if err != nil {
			return nil, err
		}
		made = append(made, keyRow{a.member, id, wrapped})
	}
	// In one order, so that two processes that meet the same members never wait for each other.
	slices.SortFunc(made, func(a, b keyRow) int { return strings.Compare(a.Member, b.Member) })
	return made, nil
}

// find reads the keys of those members whom which selects, and remembers them. One that the key
// set does not open has its error, and no effect on the others. A key of a vault that came back
// from before its erasure is none; back are those.
func (v *Vault) find(ctx context.Context, asks []ask, which func(ask) bool) (found map[string]batch.Result[Key], back []Erasure, err error) {
	var members []string
	asked := make(map[string]bool)
	for _, a := range asks {
		if which(a) && !asked[a.member] {
			asked[a.member], members = true, append(members, a.member)
		}
	}
	rows, err := postgres.Many[keyRow](ctx, v.DB, "reading keys", lookSQL, members)
	if err != nil {
		return nil, nil, err
	}
	keyset := v.keyset.Load()
	found = make(map[string]batch.Result[Key], len(rows))
	for _, row := range rows {
		if v.isErased(row.ID) {
			back = append(back, Erasure{ID: row.ID})
			continue
		}
		secret, err := keyset.unwrap(row.ID, row.Member, row.Wrapped)
		if err != nil {
			found[row.Member] = batch.Result[Key]{Err: fmt.Errorf("%w %s: %w", ErrUnopened, row.ID, err)}
			continue
		}
		key := Key{row.ID, row.Member, secret}
		found[row.Member] = batch.Result[Key]{Value: key}
		v.remember(key)
	}
	return found, back, nil
}

// remember keeps a key in memory, unless it was erased while it was read.
func (v *Vault) remember(key Key) {
	v.keys.Add(key.member, key)
	if v.isErased(key.ID) {
		v.keys.Remove(key.member)
	}
}

// missing says why the vault does not have a key.
func (v *Vault) missing(ctx context.Context, id uuid.UUID) error {
	erased, err := postgres.One[bool](ctx, v.DB, "looking for an erasure", `SELECT EXISTS (SELECT FROM erased_key WHERE id = $1)`, id)
	switch {
	case err != nil:
		return err
	case erased:
		return ErrErased
	}
	return fmt.Errorf("%w %s", ErrLost, id)
}

// Everything returns all keys of a vault, which nothing but a test or a restore needs.
func Everything(ctx context.Context, db postgres.Querier, keyset *Keyset) ([]Key, error) {
	rows, err := postgres.Many[keyRow](ctx, db, "reading all keys", `SELECT `+keyColumns+` FROM member_key`)
	if err != nil {
		return nil, err
	}
	keys := make([]Key, len(rows))
	for i, row := range rows {
		secret, err := keyset.unwrap(row.ID, row.Member, row.Wrapped)
		if err != nil {
			return nil, err
		}
		keys[i] = Key{row.ID, row.Member, secret}
	}
	return keys, nil
}
