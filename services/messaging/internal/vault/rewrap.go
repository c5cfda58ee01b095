package vault

import (
	"context"
	"errors"
	"log/slog"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// rewrapPage is how many keys are looked at in one step.
const rewrapPage = 500

// rewrapped is a key before and after it was wrapped anew.
type rewrapped struct {
	Member  string    `db:"member"`
	ID      uuid.UUID `db:"id"`
	Was     []byte    `db:"was"`
	Wrapped []byte    `db:"wrapped"`
}

var (
	rewrappedRows = postgres.RowsOf[rewrapped]()
	// A key that was erased, or made anew, since it was read has no row like this any more.
	// The members as an array too, so that each part is looked into by its index.
	rewrapSQL = `
		UPDATE member_key SET wrapped = given.wrapped FROM ` + rewrappedRows.From("given", 2) + `
		WHERE member_key.member = ANY ($1) AND member_key.member = given.member AND member_key.id = given.id AND member_key.wrapped = given.was`
)

// Rewrapped is what became of a page of keys.
type Rewrapped struct {
	// Keys were wrapped anew. Unopened are those that the key set does not open, which stay as
	// they are.
	Keys, Unopened int
	// Last is the last member that was looked at; none: there are no more.
	Last string
}

// Rewrap wraps anew the keys of the next 500 members, in their order, that are wrapped by another
// than the primary key, and with the last of them the check value. It may be repeated, and keys
// may be looked up, made and erased meanwhile.
func (v *Vault) Rewrap(ctx context.Context, after string) (result Rewrapped, err error) {
	keyset := v.keyset.Load()
	page, err := postgres.Many[keyRow](ctx, v.DB, "reading keys", `SELECT `+keyColumns+` FROM member_key WHERE member > $1 ORDER BY member LIMIT $2`, after, rewrapPage)
	if err != nil {
		return result, err
	}
	var members []string
	var anew []rewrapped
	for _, row := range page {
		if sealedBy(row.Wrapped) == keyset.primary {
			continue
		}
		secret, err := keyset.unwrap(row.ID, row.Member, row.Wrapped)
		if err != nil {
			if result.Unopened++; result.Unopened == 1 { // one speaks for the page
				slog.WarnContext(ctx, "members' keys cannot be wrapped anew: the key set does not open them", "error", err)
			}
			continue
		}
		wrapped, err := keyset.wrap(row.ID, row.Member, secret)
		if err != nil {
			return result, err
		}
		members, anew = append(members, row.Member), append(anew, rewrapped{row.Member, row.ID, row.Wrapped, wrapped})
	}
	if len(anew) > 0 {
		err := postgres.Again(ctx, func() error {
			changed, err := postgres.Exec(ctx, v.DB, "wrapping keys anew", rewrapSQL, rewrappedRows.Args(anew, members)...)
			result.Keys = int(changed)
			return err
		})
		if err != nil {
			return result, err
		}
	}
	if len(page) == rewrapPage {
		result.Last = page[len(page)-1].Member
		return result, nil
	}
	// Last: a key set without the key before is refused until all is wrapped by this one.
	return result, v.resealCheck(ctx, keyset)
}

// resealCheck has the check value sealed by the primary key.
func (v *Vault) resealCheck(ctx context.Context, keyset *Keyset) error {
	was, err := v.checkValue(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // who starts makes it
	}
	if err != nil || sealedBy(was) == keyset.primary {
		return err
	}
	if !keyset.opensCheck(was) {
		return ErrMisfit
	}
	sealed, err := keyset.seal(checkPurpose, checkText)
	if err != nil {
		return err
	}
	_, err = postgres.Exec(ctx, v.DB, "sealing the check value anew", `UPDATE keyset_check SET sealed = $1 WHERE sealed = $2`, sealed, was)
	return err
}

// SealPlace encrypts where a page has ended, since that may name a member. OpenPlace returns it.
func (v *Vault) SealPlace(place string) ([]byte, error) {
	return v.keyset.Load().seal(placePurpose, place)
}

// OpenPlace returns what SealPlace has encrypted.
func (v *Vault) OpenPlace(sealed []byte) (string, error) {
	return v.keyset.Load().open(placePurpose, sealed)
}

const placePurpose = "place"
