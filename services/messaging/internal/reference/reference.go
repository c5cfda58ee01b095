// Package reference gives each conversation the short name that its member reads out on
// the telephone: MSA- and eight characters of an alphabet without 0/O, 1/I/L.
//
// Seven of them are a number, the eighth checks them: since the alphabet has a prime number
// of characters, one wrong character or two neighbours swapped are always noticed. Numbers
// come from a sequence of the database, a block at a time, and are scattered, so that two
// references of the same minute do not look alike.
package reference

import (
	"context"
	"fmt"
	"log/slog"
	"math/bits"
	"strings"
	"sync"
	"unicode"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	prefix     = "MSA-"
	alphabet   = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
	digitCount = 7
	base       = uint64(len(alphabet)) // 31
)

// space is how many references there are: 31^7, 27.5 billion.
const space = 31 * 31 * 31 * 31 * 31 * 31 * 31

// scatter and offset spread consecutive numbers over the space, one to one since
// scatter is not a multiple of 31, so that two references taken down in the same
// minute do not look alike. They hide nothing: a reference is no secret.
const (
	scatter = 16_777_216_019
	offset  = 9_182_736_451
)

// BlockSize is how many numbers one visit to the sequence reserves. Those a
// process has not used when it ends are lost, which costs nothing.
const BlockSize = 1000

// Key is the name of the unique key of references in the database.
const Key = "conversation_reference_key"

// Source hands out references without a round trip for each.
//
// What is promised: nobody else has or will have a reference taken here, as long as the
// database's sequence never goes back. Where it has (a table was restored alone, a
// standby that lacked the last of the log was promoted, logical replication brought the
// tables and not the sequence), a submission meets a reference that is somebody's:
// whoever notices says so by [Source.Refuse], and takes another. From then on, this process
// looks before it uses a block, and looks further and further on.
type Source struct {
	pool *pgxpool.Pool

	mu        sync.Mutex
	next, end uint64
	// doubtful: the sequence has gone back.
	doubtful bool
}

// New returns a source whose numbers are those of the database.
func New(pool *pgxpool.Pool) *Source { return &Source{pool: pool} }

// furthest is how many blocks are passed over at most, to look at the next: half a
// second's work for the database.
const furthest = 1 << 18

// Reference is one that was taken.
type Reference struct {
	Text   string
	number uint64
}

// Take returns a reference that nobody else has or will have.
func (r *Source) Take(ctx context.Context) (Reference, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == r.end {
		block, err := r.block(ctx)
		if err != nil {
			return Reference{}, err
		}
		r.next, r.end = block*BlockSize, (block+1)*BlockSize
	}
	number := r.next
	r.next++
	return Reference{textOf(number), number}, nil
}

// Refuse says that a reference was somebody's already. What is left of its block is
// not used.
func (r *Source) Refuse(taken Reference) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doubtful = true
	if taken.number/BlockSize == (r.end-1)/BlockSize {
		r.next = r.end
	}
}

// block reserves the next block that is good for use.
func (r *Source) block(ctx context.Context) (uint64, error) {
	further := uint64(0)
	for {
		block, err := r.reserve(ctx, further)
		if err != nil || !r.doubtful {
			return block, err
		}
		texts := make([]string, BlockSize)
		for i := range texts {
			texts[i] = textOf(block*BlockSize + uint64(i))
		}
		used, err := r.anyUsed(ctx, texts)
		if err != nil || !used {
			return block, err
		}
		slog.WarnContext(ctx, "references are in use that the sequence has yet to reach: it has gone back", "block", block)
		further = min(2*further+1, furthest)
	}
}

// reserve reserves a block of numbers for references: the next, or one so many
// further on, which gives up those between.
func (r *Source) reserve(ctx context.Context, further uint64) (block uint64, err error) {
	sql, args := `SELECT nextval('reference_block')`, []any(nil)
	if further > 0 {
		// Not setval, for which a role needs more than to use the sequence.
		sql, args = `SELECT max(nextval('reference_block')) FROM generate_series(0, $1)`, []any{int64(further)} //nolint:gosec // at most furthest
	}
	if err := r.pool.QueryRow(ctx, sql, args...).Scan(&block); err != nil {
		return 0, fmt.Errorf("reserving references: %w", err)
	}
	return block, nil
}

// anyUsed reports whether a conversation has one of the references.
func (r *Source) anyUsed(ctx context.Context, references []string) (used bool, err error) {
	err = r.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM conversation WHERE reference = ANY($1))`, references).Scan(&used)
	if err != nil {
		return false, fmt.Errorf("looking for used references: %w", err)
	}
	return used, nil
}

// textOf writes a number as a reference, each number as another one.
func textOf(number uint64) string {
	high, low := bits.Mul64(number%space, scatter)
	_, n := bits.Div64(high, low, space)
	n = (n + offset) % space
	var digits [digitCount]uint64
	for i := digitCount - 1; i >= 0; i-- {
		digits[i], n = n%base, n/base
	}
	var out strings.Builder
	out.WriteString(prefix)
	for _, d := range digits {
		out.WriteByte(alphabet[d])
	}
	out.WriteByte(alphabet[checkDigit(digits[:])])
	return out.String()
}

// Parse reads a reference as a person types it: in either case, with or without its prefix, and
// with spaces and hyphens anywhere. The result is as the database has it. ok is false for what
// is no reference: another length, a character that the alphabet does not have, or a check
// character that does not fit. One wrong character, or two different neighbours swapped, are
// always noticed. A reference that can be one need not be anybody's.
func Parse(typed string) (reference string, ok bool) {
	code := strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.Is(unicode.Pd, r), r == softHyphen:
			return -1
		case 'a' <= r && r <= 'z': // and no others: ſ is no S
			return r - 'a' + 'A'
		}
		return r
	}, typed)
	const bare = "MSA" // the prefix without its hyphen
	if len(code) == len(bare)+digitCount+1 {
		var prefixed bool
		if code, prefixed = strings.CutPrefix(code, bare); !prefixed {
			return "", false
		}
	}
	if len(code) != digitCount+1 {
		return "", false
	}
	var digits [digitCount + 1]uint64
	for i := range len(code) {
		at := strings.IndexByte(alphabet, code[i])
		if at < 0 {
			return "", false
		}
		digits[i] = uint64(at)
	}
	if checkDigit(digits[:digitCount]) != digits[digitCount] {
		return "", false
	}
	return prefix + code, true
}

// softHyphen is what a text that is copied from a page may have in it.
const softHyphen = '\u00ad'

// checkDigit weighs each digit by its place, modulo the base.
func checkDigit(digits []uint64) uint64 {
	var sum uint64
	for i, d := range digits {
		sum += uint64(i+2) * d
	}
	return (base - sum%base) % base
}
