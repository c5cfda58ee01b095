package vault

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// ErrMisfit is the error of a key set that is another one than the vault's.
var ErrMisfit = errors.New("the key set does not fit this vault: it does not open what was sealed here; use the key set that the vault was filled with, or the vault of this key set")

// ErrInUse is the error of a file that leaves out a key of the key set by which members' keys are
// wrapped, or which another process wraps by.
var ErrInUse = errors.New("it lacks a key that wraps members' keys, here or in another process: re-wrap them first")

const (
	checkPurpose = "check value"
	checkText    = "the key set of this vault"
	// readerLife is how long a process counts after it was last seen.
	readerLife = time.Minute
	// leaveTimeout bounds what a process says at its end.
	leaveTimeout = 2 * time.Second
)

// CheckKeyset is ErrMisfit if the key set is not the vault's, and notes which keys this process
// has. It must be called before anything is answered. The first process has its key set become
// the vault's.
func (v *Vault) CheckKeyset(ctx context.Context) error {
	if err := v.fits(ctx, v.keyset.Load()); err != nil {
		return err
	}
	return v.note(ctx)
}

// fits is ErrMisfit if a key set does not open the check value.
func (v *Vault) fits(ctx context.Context, keyset *Keyset) error {
	sealed, err := v.checkValue(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		sealed, err = v.makeCheckValue(ctx, keyset)
	}
	if err == nil && !keyset.opensCheck(sealed) {
		return ErrMisfit
	}
	return err
}

func (k *Keyset) opensCheck(sealed []byte) bool {
	text, err := k.open(checkPurpose, sealed)
	return err == nil && text == checkText
}

// checkValue reads the check value; pgx.ErrNoRows: there is none yet.
func (v *Vault) checkValue(ctx context.Context) ([]byte, error) {
	return postgres.One[[]byte](ctx, v.DB, "reading the check value of the key set", `SELECT sealed FROM keyset_check`)
}

// makeCheckValue stores a check value, unless another process has, and returns the one that is
// stored. A key set that does not open a key which is there is not the vault's.
func (v *Vault) makeCheckValue(ctx context.Context, keyset *Keyset) ([]byte, error) {
	rows, err := postgres.Many[keyRow](ctx, v.DB, "looking for a key", `SELECT `+keyColumns+` FROM member_key LIMIT 1`)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if _, err := keyset.unwrap(row.ID, row.Member, row.Wrapped); err != nil {
			return nil, ErrMisfit
		}
	}
	sealed, err := keyset.seal(checkPurpose, checkText)
	if err != nil {
		return nil, err
	}
	if _, err := postgres.Exec(ctx, v.DB, "storing the check value of the key set", `INSERT INTO keyset_check (sealed) VALUES ($1) ON CONFLICT DO NOTHING`, sealed); err != nil {
		return nil, err
	}
	return v.checkValue(ctx)
}

// followKeyset looks at the key set's file, and notes which keys this process has, until ctx is
// done.
func (v *Vault) followKeyset(ctx context.Context) {
	for chassis.Sleep(ctx, v.KeysetEvery) {
		v.followKeysetOnce(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	if _, err := postgres.Exec(ctx, v.DB, "leaving", `DELETE FROM keyset_reader WHERE process = $1`, v.process); err != nil {
		slog.DebugContext(ctx, "this process still counts among those that have a key set, for a minute", "error", err)
	}
}

func (v *Vault) followKeysetOnce(ctx context.Context) {
	if v.KeysetPath != "" {
		v.rereadKeyset(ctx)
	}
	// In a time of its own: a KMS that is away must not have this process count as gone.
	ctx, cancel := context.WithTimeout(ctx, followTimeout)
	defer cancel()
	if err := v.note(ctx); err != nil && ctx.Err() == nil && !postgres.IsUnreachable(err) {
		slog.WarnContext(ctx, "noting which keys this process has; it is tried again", "error", err)
	}
}

// rereadKeyset has the key set of the file take effect, if it is another one and fits. One that
// does not is told of once.
func (v *Vault) rereadKeyset(ctx context.Context) {
	v.rereading.Lock()
	defer v.rereading.Unlock()
	content, err := readFile(v.KeysetPath)
	digest := sha256.Sum256([]byte(content))
	if err != nil {
		digest = sha256.Sum256([]byte(err.Error()))
	}
	if digest == v.keyset.Load().digest {
		v.refused = [sha256.Size]byte{}
		return
	}
	var keyset *Keyset
	if err == nil {
		keyset, err = v.OpenKeyset(content)
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, followTimeout)
		defer cancel()
		if err = v.fits(ctx, keyset); err == nil {
			err = v.dispensable(ctx, keyset)
		}
		if err != nil && !errors.Is(err, ErrMisfit) && !errors.Is(err, ErrInUse) {
			return // the vault did not answer: it is looked at again
		}
	}
	if err != nil {
		// It may fit later: the vault changes too.
		if digest != v.refused {
			slog.WarnContext(ctx, "the file of the key set is not taken; the key set before it goes on", "path", v.KeysetPath, "error", err)
		}
		v.refused = digest
		return
	}
	v.keyset.Store(keyset)
	v.refused = [sha256.Size]byte{}
	slog.InfoContext(ctx, "the key set was read again", "primary", keyset.primary, "keys", keyset.ids)
}

// dispensable is ErrInUse if a key set lacks a key of this one's that is in use. It reads all
// keys where it lacks any.
func (v *Vault) dispensable(ctx context.Context, next *Keyset) error {
	var dropped []int64
	var prefixes [][]byte
	for _, id := range v.keyset.Load().ids {
		if !slices.Contains(next.ids, id) {
			dropped, prefixes = append(dropped, int64(id)), append(prefixes, prefixOf(id))
		}
	}
	if len(dropped) == 0 {
		return nil
	}
	used, err := postgres.One[bool](ctx, v.DB, "looking for what a key wraps", `
		SELECT EXISTS (SELECT FROM member_key WHERE substring(wrapped FROM 1 FOR $5) = ANY ($1))
		    OR EXISTS (SELECT FROM keyset_reader WHERE primary_key = ANY ($2) AND process <> $3 AND seen_at > now() - $4::interval)`,
		prefixes, dropped, v.process, readerLife, prefixBytes)
	if err == nil && used {
		return ErrInUse
	}
	return err
}

// note says in the vault which keys this process has.
func (v *Vault) note(ctx context.Context) error {
	keyset := v.keyset.Load()
	ids := make([]int64, len(keyset.ids))
	for i, id := range keyset.ids {
		ids[i] = int64(id)
	}
	_, err := postgres.Exec(ctx, v.DB, "noting which keys this process has", `
		WITH gone AS (DELETE FROM keyset_reader WHERE seen_at < now() - $4::interval AND process <> $1)
		INSERT INTO keyset_reader (process, primary_key, key_ids) VALUES ($1, $2, $3)
		ON CONFLICT (process) DO UPDATE SET primary_key = excluded.primary_key, key_ids = excluded.key_ids, seen_at = now()`,
		v.process, int64(keyset.primary), ids, readerLife)
	return err
}
