// Package lifecycle is what a conversation goes through: its statuses, which of them wait for
// the fund, and what each action of a member or an agent makes of them. It is one table, from
// which both Go and SQL are made.
//
//	SENT ──claim──▶ IN_PROGRESS ──reply──▶ PARTLY_ANSWERED ──claim──▶ IN_PROGRESS
//	                     │ final reply            │ final reply
//	                     ▼                        ▼
//	                 ANSWERED ──follow-up, reopen──▶ REOPENED ──claim──▶ IN_PROGRESS
//
// Every status but CLOSED can be closed; CLOSED can be reopened by an agent. A claim that is
// released goes back to SENT, or to PARTLY_ANSWERED once there was a reply.
package lifecycle

import (
	"fmt"
	"strings"

	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// Status is that of a conversation.
type Status = messagingpb.Status

// state is what is so while a conversation has a status.
type state struct {
	status Status
	// waiting: for an agent. What does not wait may be forgotten when its term has passed.
	waiting bool
	// claimed is the status after a claim.
	claimed Status
	// followedUp is the status after a further message of the member's, while nobody holds
	// a claim; unspecified: there may be none.
	followedUp Status
	// reopenable: by an agent.
	reopenable bool
}

// table has each status, in the order of numbers.
var table = []state{
	{messagingpb.Status_SENT, true, messagingpb.Status_IN_PROGRESS, messagingpb.Status_SENT, false},
	{messagingpb.Status_IN_PROGRESS, true, messagingpb.Status_IN_PROGRESS, messagingpb.Status_IN_PROGRESS, false},
	{messagingpb.Status_PARTLY_ANSWERED, true, messagingpb.Status_IN_PROGRESS, messagingpb.Status_PARTLY_ANSWERED, false},
	{messagingpb.Status_ANSWERED, false, messagingpb.Status_ANSWERED, messagingpb.Status_REOPENED, true},
	{messagingpb.Status_WAITING_FOR_MEMBER, false, messagingpb.Status_WAITING_FOR_MEMBER, messagingpb.Status_REOPENED, false},
	{messagingpb.Status_REOPENED, true, messagingpb.Status_IN_PROGRESS, messagingpb.Status_REOPENED, false},
	{messagingpb.Status_CLOSED, false, messagingpb.Status_CLOSED, messagingpb.Status_STATUS_UNSPECIFIED, true},
}

func of[S ~int16 | ~int32](status S) state {
	for _, s := range table {
		if int32(s.status) == int32(status) {
			return s
		}
	}
	return state{status: Status(status)}
}

// Waiting reports whether a conversation waits for an agent.
func Waiting[S ~int16 | ~int32](status S) bool { return of(status).waiting }

// WaitsAgain sets since when a conversation waits that did not wait before.
const WaitsAgain = `waits_since = clock_timestamp()`

// Statuses are all.
var Statuses = statuses(func(state) bool { return true })

// WaitingStatuses are those in which a conversation waits for an agent.
var WaitingStatuses = statuses(func(s state) bool { return s.waiting })

var (
	// WaitingSQL is the condition for a conversation to wait for an agent, literally as
	// indexes have it.
	WaitingSQL = in(WaitingStatuses)
	// EndedSQL is the condition for a conversation not to wait for one.
	EndedSQL = in(statuses(func(s state) bool { return !s.waiting }))
)

func statuses(are func(state) bool) (list []Status) {
	for _, s := range table {
		if are(s) {
			list = append(list, s.status)
		}
	}
	return list
}

func in(list []Status) string {
	numbers := make([]string, len(list))
	for i, status := range list {
		numbers[i] = fmt.Sprint(int32(status))
	}
	return `status IN (` + strings.Join(numbers, ", ") + `)`
}

// Claimed is the status after a claim by somebody who held none.
func Claimed[S ~int16 | ~int32](status S) Status { return of(status).claimed }

// Released is the status after a claim was given back or dropped; replied: an agent has
// written before.
func Released[S ~int16 | ~int32](status S, replied bool) Status {
	switch {
	case Status(status) != messagingpb.Status_IN_PROGRESS:
		return Status(status)
	case replied:
		return messagingpb.Status_PARTLY_ANSWERED
	}
	return messagingpb.Status_SENT
}

// Replied is the status after an agent's reply.
func Replied(final bool) Status {
	if final {
		return messagingpb.Status_ANSWERED
	}
	return messagingpb.Status_PARTLY_ANSWERED
}

// FollowedUp is the status after a further message of the member's; held: an agent holds a
// claim. ok is false where there may be none.
func FollowedUp[S ~int16 | ~int32](status S, held bool) (after Status, ok bool) {
	after = of(status).followedUp
	if after == messagingpb.Status_REOPENED && held && !Waiting(status) {
		after = messagingpb.Status_IN_PROGRESS
	}
	return after, after != messagingpb.Status_STATUS_UNSPECIFIED
}

// Reopenable reports whether an agent may open a conversation again.
func Reopenable[S ~int16 | ~int32](status S) bool { return of(status).reopenable }

// Action is what somebody of the fund did, as the audit has it.
type Action string

// Actions, of which [Step] says which a member sees.
const (
	Read         Action = "read"
	Claim        Action = "claim"
	Release      Action = "release"
	Reply        Action = "reply"
	Transfer     Action = "transfer"
	Recategorise Action = "recategorise"
	Close        Action = "close"
	Reopen       Action = "reopen"
	Note         Action = "note"
	Hold         Action = "hold"
	Unhold       Action = "unhold"
	Assign       Action = "assign"
	TakeOver     Action = "take-over"
	DropEvent    Action = "event-dropped"
	// Of searches, the conversation is the one that was found or asked about, if any.
	FindByReference Action = "find-reference"
	FindByNumber    Action = "find-number"
	FindOfMember    Action = "find-member"
)

// steps are the actions that a member sees, in the order in which the index audit_log has
// them.
var steps = []struct {
	action Action
	kind   messagingpb.Step_Kind
}{
	{Claim, messagingpb.Step_CLAIMED},
	{Transfer, messagingpb.Step_REDIRECTED},
	{Recategorise, messagingpb.Step_REDIRECTED},
	{Close, messagingpb.Step_CLOSED},
	{Reopen, messagingpb.Step_REOPENED},
}

// Step is what the timeline of a member shows of an action; ok is false for nothing.
func Step(action Action) (kind messagingpb.Step_Kind, ok bool) {
	for _, step := range steps {
		if step.action == action {
			return step.kind, true
		}
	}
	return 0, false
}

// StepsSQL is the list of actions that are steps: those stay as long as their conversation,
// and not the audit's term. It is literally that of the index audit_log.
var StepsSQL = func() string {
	names := make([]string, len(steps))
	for i, step := range steps {
		names[i] = `'` + string(step.action) + `'`
	}
	return `(` + strings.Join(names, ", ") + `)`
}()
