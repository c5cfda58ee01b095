package rpc_test

import (
	"errors"
	"testing"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
)

// A token is for who got it, for the list and the filters that it was made for.
func TestPageToken(t *testing.T) {
	t.Parallel()
	jeanne := auth.NewContext(t.Context(), &auth.Identity{Subject: "member:jeanne"})
	paul := auth.NewContext(t.Context(), &auth.Identity{Subject: "member:paul"})
	request := func(hidden bool, size int32, token string) *messagingpb.ListConversationsRequest {
		return &messagingpb.ListConversationsRequest{Hidden: hidden, PageSize: size, PageToken: token}
	}
	token := rpc.PageToken(jeanne, request(false, 20, "x"), []byte("key"))
	if key, err := rpc.PageKey(jeanne, request(false, 7, token)); string(key) != "key" || err != nil {
		t.Errorf("got %q, %v", key, err)
	}
	if key, err := rpc.PageKey(jeanne, request(false, 0, "")); key != nil || err != nil {
		t.Errorf("the first page: %q, %v", key, err)
	}
	changed := []byte(token)
	changed[len(changed)-2]++
	for name, err := range map[string]error{
		"another caller": second(rpc.PageKey(paul, request(false, 20, token))),
		"nobody":         second(rpc.PageKey(t.Context(), request(false, 20, token))),
		"another filter": second(rpc.PageKey(jeanne, request(true, 20, token))),
		"another list":   second(rpc.PageKey(jeanne, &messagingpb.AgentServiceListConversationsRequest{PageToken: token})),
		"changed":        second(rpc.PageKey(jeanne, request(false, 20, string(changed)))),
		"without a key":  second(rpc.PageKey(jeanne, request(false, 20, rpc.PageToken(jeanne, request(false, 20, ""), nil)))),
		"longer":         second(rpc.PageKey(jeanne, request(false, 20, token+"="))),
		"no base64":      second(rpc.PageKey(jeanne, request(false, 20, "!"+token))),
		"too short":      second(rpc.PageKey(jeanne, request(false, 20, "AAAA"))),
	} {
		if !errors.Is(err, rpc.ErrPageToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A filter of several values is the same in any order, and another with other values.
func TestPageToken_OrderOfAFilter(t *testing.T) {
	t.Parallel()
	request := func(token string, statuses ...messagingpb.Status) *messagingpb.AgentServiceListConversationsRequest {
		return &messagingpb.AgentServiceListConversationsRequest{Status: statuses, PageToken: token}
	}
	const sent, reopened, answered = messagingpb.Status_SENT, messagingpb.Status_REOPENED, messagingpb.Status_ANSWERED
	token := rpc.PageToken(t.Context(), request("", sent, reopened), []byte("key"))
	turned := request(token, reopened, sent)
	if key, err := rpc.PageKey(t.Context(), turned); string(key) != "key" || err != nil {
		t.Errorf("in another order: %q, %v", key, err)
	}
	if turned.GetStatus()[0] != reopened {
		t.Error("the request itself is turned")
	}
	if err := second(rpc.PageKey(t.Context(), request(token, sent, answered))); !errors.Is(err, rpc.ErrPageToken) {
		t.Errorf("other values: %v", err)
	}
}
