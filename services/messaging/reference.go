package messaging

import (
	"context"
	"log/slog"
	"math/bits"
	"strings"
	"sync"
)

// A reference is what a member reads out on the telephone: MSA- and eight
// characters of an alphabet without 0/O, 1/I/L. Seven of them are a number, the
// eighth checks them: since the alphabet has a prime number of characters, one
// wrong character or two neighbours swapped are always noticed.
const (
	referencePrefix   = "MSA-"
	referenceAlphabet = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
	referenceDigits   = 7
	referenceBase     = uint64(len(referenceAlphabet)) // 31
)

// referenceSpace is how many references there are: 31^7, 27.5 thousand million.
const referenceSpace = 31 * 31 * 31 * 31 * 31 * 31 * 31

// scatter and offset spread consecutive numbers over the space, one to one since
// scatter is not a multiple of 31, so that two references taken down in the same
// minute do not look alike. They hide nothing: a reference is no secret.
const (
	scatter = 16_777_216_019
	offset  = 9_182_736_451
)

// referenceOf writes a number as a reference, each number as another one.
func referenceOf(number uint64) string {
	high, low := bits.Mul64(number%referenceSpace, scatter)
	_, n := bits.Div64(high, low, referenceSpace)
	n = (n + offset) % referenceSpace
	var digits [referenceDigits]uint64
	for i := referenceDigits - 1; i >= 0; i-- {
		digits[i], n = n%referenceBase, n/referenceBase
	}
	var out strings.Builder
	out.WriteString(referencePrefix)
	for _, d := range digits {
		out.WriteByte(referenceAlphabet[d])
	}
	out.WriteByte(referenceAlphabet[checkDigit(digits[:])])
	return out.String()
}

// checkDigit weighs each digit by its place, modulo the base.
func checkDigit(digits []uint64) uint64 {
	var sum uint64
	for i, d := range digits {
		sum += uint64(i+2) * d
	}
	return (referenceBase - sum%referenceBase) % referenceBase
}

// referenceBlock is how many numbers one visit to the sequence reserves. Those a
// process has not used when it ends are lost, which costs nothing.
const referenceBlock = 1000

// referenceKey is the unique key of references in the database.
const referenceKey = "conversation_reference_key"

// references hands out references without a round trip for each.
//
// What is promised: nobody else has or will have a reference taken here, as long as the
// database's sequence never goes back. Where it has (a table was restored alone, a
// standby that lacked the last of the log was promoted, logical replication brought the
// tables and not the sequence), a submission meets a reference that is somebody's:
// whoever notices says so by refuse, and takes another. From then on, this process
// looks before it uses a block, and looks further and further on.
type references struct {
	store *store

	mu        sync.Mutex
	next, end uint64
	// doubtful: the sequence has gone back.
	doubtful bool
}

// furthest is how many blocks are passed over at most, to look at the next: half a
// second's work for the database.
const furthest = 1 << 18

// reference is one that was taken, with its number.
type reference struct {
	text   string
	number uint64
}

// take returns a reference that nobody else has or will have.
func (r *references) take(ctx context.Context) (reference, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == r.end {
		block, err := r.block(ctx)
		if err != nil {
			return reference{}, err
		}
		r.next, r.end = block*referenceBlock, (block+1)*referenceBlock
	}
	number := r.next
	r.next++
	return reference{referenceOf(number), number}, nil
}

// refuse says that a reference was somebody's already. What is left of its block is
// not used.
func (r *references) refuse(taken reference) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doubtful = true
	if taken.number/referenceBlock == (r.end-1)/referenceBlock {
		r.next = r.end
	}
}

// block reserves the next block that is good for use.
func (r *references) block(ctx context.Context) (uint64, error) {
	further := uint64(0)
	for {
		block, err := r.store.referenceBlock(ctx, further)
		if err != nil || !r.doubtful {
			return block, err
		}
		texts := make([]string, referenceBlock)
		for i := range texts {
			texts[i] = referenceOf(block*referenceBlock + uint64(i))
		}
		used, err := r.store.anyReferenceUsed(ctx, texts)
		if err != nil || !used {
			return block, err
		}
		slog.WarnContext(ctx, "references are in use that the sequence has yet to reach: it has gone back", "block", block)
		further = min(2*further+1, furthest)
	}
}
