package vault

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
)

// Differences are those of one page of the comparison of the two databases.
type Differences struct {
	// Unused are keys of members of whom nothing is stored.
	Unused []uuid.UUID
	// Missing has, for each row whose texts do not open, the key that the vault lacks.
	Missing []uuid.UUID
	// Next is where the next page begins; empty: there is none.
	Next string
}

const (
	// comparePage is how many rows of messaging's are looked at in one step.
	comparePage = 2000
	// freshAge is how long a key may have nothing stored: its first message may be under way.
	freshAge = 24 * time.Hour
)

// sealedRow is a row that a key has sealed something in.
type sealedRow struct {
	Place  string    `db:"place"`
	Member string    `db:"member"`
	KeyID  uuid.UUID `db:"key_id"`
}

// steps are the tables that are gone through after the keys, each from a place on.
var steps = []struct{ name, from, sql string }{
	{"conversation", uuid.Nil.String(), `SELECT id::text AS place, CASE WHEN erased_at IS NULL THEN member_id ELSE '' END AS member, key_id
		FROM conversation WHERE id > $1::uuid ORDER BY id LIMIT $2`},
	{"member", "", `SELECT id AS place, id AS member, key_id FROM member WHERE id > $1 ORDER BY id LIMIT $2`},
	{"draft", uuid.Nil.String() + " ", `SELECT id::text || ' ' || member_id AS place, member_id AS member, key_id
		FROM draft WHERE (member_id, id) > (substr($1, 38), substr($1, 1, 36)::uuid) ORDER BY member_id, id LIMIT $2`},
}

// Compare compares a page of the two databases, from a place on that the page before has
// returned: first all keys, then all that they have sealed. Keys made today are left out, as
// what they are for may be under way; what an earlier version has sealed has no key. As for
// [Vault.Retire], without returns which of some members nothing is stored of.
func (v *Vault) Compare(ctx context.Context, data postgres.Querier, from string, without func(ctx context.Context, members []string) ([]string, error)) (Differences, error) {
	name, after, _ := strings.Cut(from, " ")
	if name == "" || name == "key" {
		return v.unused(ctx, after, without)
	}
	for i, step := range steps {
		if step.name != name {
			continue
		}
		rows, err := postgres.Many[sealedRow](ctx, data, "listing what is sealed", step.sql, after, comparePage)
		if err != nil {
			return Differences{}, err
		}
		missing, err := v.lacking(ctx, data, rows)
		result := Differences{Missing: missing}
		switch {
		case len(rows) == comparePage:
			result.Next = name + " " + rows[len(rows)-1].Place
		case i+1 < len(steps):
			result.Next = steps[i+1].name + " " + steps[i+1].from
		}
		return result, err
	}
	return Differences{}, nil
}

// unused returns the keys on a page of them whose members have nothing stored.
func (v *Vault) unused(ctx context.Context, after string, without func(ctx context.Context, members []string) ([]string, error)) (Differences, error) {
	// Numbers are hashed by the key of their own owner, of whom nothing is stored.
	page, err := postgres.Many[Owned](ctx, v.DB, "listing keys",
		`SELECT member AS member_id, id FROM member_key WHERE member > $1 AND member <> $4 AND made_at < now() - $2::interval ORDER BY member LIMIT $3`, after, freshAge, rewrapPage, numbersOwner)
	if err != nil {
		return Differences{}, err
	}
	if len(page) == 0 {
		return Differences{Next: steps[0].name + " " + steps[0].from}, nil
	}
	ids, members := make(map[string]uuid.UUID, len(page)), make([]string, len(page))
	for i, owned := range page {
		ids[owned.MemberID], members[i] = owned.ID, owned.MemberID
	}
	unused, err := without(ctx, members)
	result := Differences{Next: "key " + page[len(page)-1].MemberID}
	for _, member := range unused {
		result.Unused = append(result.Unused, ids[member])
	}
	return result, err
}

// lacking returns the keys of rows that the vault does not have, and that nobody has erased
// since they were read.
func (v *Vault) lacking(ctx context.Context, data postgres.Querier, rows []sealedRow) ([]uuid.UUID, error) {
	var members []string
	asked := make(map[string]bool)
	for _, row := range rows {
		if row.Member != "" && row.KeyID != uuid.Nil && !asked[row.Member] {
			asked[row.Member], members = true, append(members, row.Member)
		}
	}
	if len(members) == 0 {
		return nil, nil
	}
	there, err := postgres.Many[uuid.UUID](ctx, v.DB, "looking for keys", `SELECT id FROM unnest($1::text[]) AS asked (who),
		LATERAL (SELECT id FROM member_key WHERE member = asked.who) AS found`, members) // see lookSQL
	if err != nil {
		return nil, err
	}
	has := make(map[uuid.UUID]bool, len(there))
	for _, id := range there {
		has[id] = true
	}
	var missing []uuid.UUID
	for _, row := range rows {
		if row.Member != "" && row.KeyID != uuid.Nil && !has[row.KeyID] {
			missing = append(missing, row.KeyID)
		}
	}
	if len(missing) == 0 {
		return nil, nil
	}
	// An erasure is noted here before the key goes.
	erased, err := postgres.Many[uuid.UUID](ctx, data, "looking for erasures", `SELECT id FROM erased_member_key WHERE id = ANY ($1)`, missing)
	if err != nil {
		return nil, err
	}
	gone := make(map[uuid.UUID]bool, len(erased))
	for _, id := range erased {
		gone[id] = true
	}
	kept := missing[:0]
	for _, id := range missing {
		if !gone[id] {
			kept = append(kept, id)
		}
	}
	return kept, nil
}
