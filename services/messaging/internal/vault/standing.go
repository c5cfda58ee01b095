package vault

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// Fit is how the key sets of all processes fit the vault and one another.
type Fit struct {
	// CheckOpens reports whether this process's key set opens the check value.
	CheckOpens bool
	// Primary is the id of this process's primary key.
	Primary uint32
	// Processes are those that were seen within a minute, and WithoutPrimary those of them
	// that lack the primary key of one: they cannot read what that one wraps.
	Processes, WithoutPrimary int
}

// reader is a row of the table keyset_reader.
type reader struct {
	PrimaryKey int64   `db:"primary_key"`
	KeyIDs     []int64 `db:"key_ids"`
}

// Fit reads it.
func (v *Vault) Fit(ctx context.Context) (Fit, error) {
	fit, _, _, err := v.fit(ctx)
	return fit, err
}

// fit is Fit, with the processes and the check value that it is made of.
func (v *Vault) fit(ctx context.Context) (fit Fit, readers []reader, check []byte, err error) {
	keyset := v.keyset.Load()
	check, err = v.checkValue(ctx)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fit, nil, nil, err
	}
	readers, err = postgres.Many[reader](ctx, v.DB, "reading which process has which keys",
		`SELECT primary_key, key_ids FROM keyset_reader WHERE seen_at > now() - $1::interval`, readerLife)
	if err != nil {
		return fit, nil, nil, err
	}
	fit = Fit{CheckOpens: keyset.opensCheck(check), Primary: keyset.primary, Processes: len(readers)}
	for _, one := range readers {
		if slices.ContainsFunc(readers, func(other reader) bool { return !slices.Contains(one.KeyIDs, other.PrimaryKey) }) {
			fit.WithoutPrimary++
		}
	}
	return fit, readers, check, nil
}

// Wrapper is a key that wraps members' keys: one of a process's key set, or one that something
// is wrapped by.
type Wrapper struct {
	// ID is tink's; 0 if what was wrapped does not say by what.
	ID uint32
	// Processes have it in their key set, and PrimaryOf wrap by it.
	Processes, PrimaryOf int
	// Members is how many members' keys are wrapped by it.
	Members int64
	// Check reports whether the check value is sealed by it.
	Check bool
}

// Wrappers are all of them, in the order of their ids. It reads all keys.
func (v *Vault) Wrappers(ctx context.Context) (Fit, []Wrapper, error) {
	fit, readers, check, err := v.fit(ctx)
	if err != nil {
		return fit, nil, err
	}
	counts, err := postgres.Many[struct {
		Wrapper []byte `db:"wrapper"`
		N       int64  `db:"n"`
	}](ctx, v.DB, "counting keys", `SELECT substring(wrapped FROM 1 FOR $1) AS wrapper, count(*) AS n FROM member_key GROUP BY 1`, prefixBytes)
	if err != nil {
		return fit, nil, err
	}
	byID := make(map[uint32]*Wrapper)
	of := func(id uint32) *Wrapper {
		if byID[id] == nil {
			byID[id] = &Wrapper{ID: id}
		}
		return byID[id]
	}
	for _, count := range counts {
		of(sealedBy(count.Wrapper)).Members += count.N
	}
	for _, one := range readers {
		for _, id := range one.KeyIDs {
			of(uint32(id)).Processes++ //nolint:gosec // as it was stored
		}
		of(uint32(one.PrimaryKey)).PrimaryOf++ //nolint:gosec // as it was stored
	}
	if check != nil {
		of(sealedBy(check)).Check = true
	}
	list := make([]Wrapper, 0, len(byID))
	for _, one := range byID {
		list = append(list, *one)
	}
	slices.SortFunc(list, func(a, b Wrapper) int { return int(int64(a.ID) - int64(b.ID)) })
	return fit, list, nil
}

// Remembered is what is known of erasures.
type Remembered struct {
	// Erasures are those of keys that are remembered, and Open those of them of which what
	// the key has sealed is not erased yet.
	Erasures int64 `db:"erasures"`
	Open     int64 `db:"open"`
	// Parts of the vault have erased keys in their files, and are to be written anew.
	Parts int64 `db:"-"`
}

// Remembered counts it; data is messaging's database.
func (v *Vault) Remembered(ctx context.Context, data postgres.Querier) (Remembered, error) {
	counts, err := postgres.One[Remembered](ctx, data, "counting erasures",
		`SELECT count(*) AS erasures, count(*) FILTER (WHERE ended_at IS NULL) AS open FROM erased_member_key WHERE retiring IS NULL`)
	if err != nil {
		return counts, err
	}
	counts.Parts, err = postgres.One[int64](ctx, v.DB, "counting parts with erased keys", `SELECT count(DISTINCT lies_in) FROM erased_key WHERE lies_in IS NOT NULL`)
	return counts, err
}
