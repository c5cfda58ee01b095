package lifecycle

import messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"

// Erase is what a member does to all their conversations at once.
const Erase Action = "erase"

// audited has each action as callers are told it, and whether it is a reading: somebody saw
// what a member wrote, as the answers to replies and notes show it too, or looked for whose it is.
var audited = []struct {
	action  Action
	told    messagingpb.AuditEntry_Action
	reading bool
}{
	{Read, messagingpb.AuditEntry_READ, true},
	{FindByReference, messagingpb.AuditEntry_FIND_BY_REFERENCE, true},
	{FindByNumber, messagingpb.AuditEntry_FIND_BY_NUMBER, true},
	{FindOfMember, messagingpb.AuditEntry_FIND_OF_MEMBER, true},
	{Claim, messagingpb.AuditEntry_CLAIM, false},
	{Release, messagingpb.AuditEntry_RELEASE, false},
	{Assign, messagingpb.AuditEntry_ASSIGN, false},
	{TakeOver, messagingpb.AuditEntry_TAKE_OVER, false},
	{Reply, messagingpb.AuditEntry_REPLY, true},
	{Transfer, messagingpb.AuditEntry_TRANSFER, false},
	{Recategorise, messagingpb.AuditEntry_RECATEGORISE, false},
	{Close, messagingpb.AuditEntry_CLOSE, false},
	{Reopen, messagingpb.AuditEntry_REOPEN, false},
	{Note, messagingpb.AuditEntry_NOTE, true},
	{Hold, messagingpb.AuditEntry_HOLD, false},
	{Unhold, messagingpb.AuditEntry_UNHOLD, false},
	{Erase, messagingpb.AuditEntry_ERASE, false},
	{DropEvent, messagingpb.AuditEntry_DROP_EVENT, false},
}

// Told is an action as callers are told it; unspecified for one of a later version.
func Told(action Action) messagingpb.AuditEntry_Action {
	for _, a := range audited {
		if a.action == action {
			return a.told
		}
	}
	return messagingpb.AuditEntry_ACTION_UNSPECIFIED
}

// Readings are the actions that are readings.
var Readings = func() (names []string) {
	for _, a := range audited {
		if a.reading {
			names = append(names, string(a.action))
		}
	}
	return names
}()
