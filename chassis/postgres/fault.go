package postgres

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Unavailable is the reason with which every service refuses a call when it cannot reach its
// database: see [IsUnreachable].
const Unavailable = "STORE_UNAVAILABLE"

// deadlock is PostgreSQL's code for a transaction that was given up because it and
// another waited for each other.
const deadlock = "40P01"

// IsUnreachable reports whether the database could not be asked, or stopped during the
// call: it is away, starting, stopping, out of space or of connections (or our pool is), no
// longer the primary, does not take our password, or aborted the transaction because of a
// deadlock. Whether something was done may be unknown. The same call may work a moment later;
// the caller's request is not at fault.
func IsUnreachable(err error) bool {
	// Whatever the reason: it may be configured to accept nobody for a while.
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) || errors.Is(err, errNoneFree) {
		return true
	}
	var fault *pgconn.PgError
	if errors.As(err, &fault) && len(fault.Code) == 5 {
		// 08 connection, 28 authentication, 53 out of resources, 57 operator
		// intervention: what a restart, a rotated password or a fail-over looks like.
		switch fault.Code[:2] {
		case "08", "28", "53", "57":
			return true
		}
		return fault.Code == readOnly || fault.Code == deadlock
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var network net.Error
	return errors.As(err, &network) || pgconn.SafeToRetry(err) || errors.Is(err, io.ErrUnexpectedEOF)
}

// IsBadRow reports whether the database refused the data (classes 22 and 23: an invalid
// value, a constraint) rather than being away or busy: the same row fails again, and others
// in the batch need not.
func IsBadRow(err error) bool {
	var fault *pgconn.PgError
	return errors.As(err, &fault) && len(fault.Code) == 5 && (fault.Code[:2] == "22" || fault.Code[:2] == "23")
}

// IsDuplicate reports whether an insert violated a unique key.
func IsDuplicate(err error) bool {
	_, is := DuplicateOf(err)
	return is
}

// DuplicateOf returns the name of the unique key that an insert violated, if it did.
func DuplicateOf(err error) (key string, is bool) {
	var fault *pgconn.PgError
	if !errors.As(err, &fault) || fault.Code != "23505" {
		return "", false
	}
	return fault.ConstraintName, true
}

// tries is how often Again runs a transaction at most.
const tries = 4

// Again runs a transaction, and retries it after a pause if the server carried out none of
// it: because of a deadlock, in which the other transaction went on, or because the server
// is read-only, when another connection may lead to one that can be written to.
func Again(ctx context.Context, do func() error) (err error) {
	for try := range tries {
		var fault *pgconn.PgError
		if err = do(); !errors.As(err, &fault) || fault.Code != deadlock && fault.Code != readOnly || try == tries-1 {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(20*time.Millisecond) << try): //nolint:gosec // spreads those that met
		}
	}
	return err
}
