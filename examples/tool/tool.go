package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/ma-messagerie/messagerie/examples/tool/api"
)

// pageSize is how many conversations one call lists; the gateway gives 100 at most.
const pageSize = 100

// tool is one machine at one gateway.
type tool struct {
	api *api.ClientWithResponses
	out io.Writer
}

// open makes the client. A token is asked for by the first call, and again when it lapses.
func open(ctx context.Context, cfg Config, out io.Writer) (*tool, error) {
	machine := clientcredentials.Config{ClientID: cfg.ClientID, ClientSecret: cfg.ClientSecret, TokenURL: cfg.TokenURL}
	caller := &http.Client{Transport: &patient{next: &oauth2.Transport{Source: machine.TokenSource(ctx)}}}
	client, err := api.NewClientWithResponses(cfg.API, api.WithHTTPClient(caller))
	if err != nil {
		return nil, fmt.Errorf("reading TOOL_API: %w", err)
	}
	return &tool{api: client, out: out}, nil
}

// waiting lists what waits for an answer, page by page.
func (t *tool) waiting(ctx context.Context) error {
	page := &api.AgentListConversationsParams{PageSize: pageSize}
	for {
		answer, err := t.api.AgentListConversationsWithResponse(ctx, page)
		if err != nil {
			return fmt.Errorf("listing what waits: %w", err)
		}
		if answer.JSON200 == nil {
			return refusal(answer.StatusCode(), answer.Body)
		}
		for _, c := range answer.JSON200.Conversations {
			fmt.Fprintf(t.out, "%s  %s  %s  %s\n", c.Id, c.Reference, c.CreateTime.Format(time.DateTime), c.Theme.Label)
		}
		// A token is for this list with these filters alone.
		page.PageToken = answer.JSON200.NextPageToken
		if page.PageToken == "" {
			return nil
		}
	}
}

// claim takes a conversation in charge, so that nobody answers it at the same time, and
// shows what was written. To claim what one holds already renews the lease.
func (t *tool) claim(ctx context.Context, id string) error {
	claimed, err := t.api.AgentClaimConversationWithResponse(ctx, id, nil, api.AgentClaimConversationJSONRequestBody{})
	if err != nil {
		return fmt.Errorf("claiming: %w", err)
	}
	if claimed.JSON200 == nil {
		return refusal(claimed.StatusCode(), claimed.Body)
	}
	read, err := t.api.AgentGetConversationWithResponse(ctx, id, nil)
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	if read.JSON200 == nil {
		return refusal(read.StatusCode(), read.Body)
	}
	c := read.JSON200.Conversation
	fmt.Fprintf(t.out, "%s, in charge until %s\n", c.Reference, c.Claim.ExpireTime.Format(time.DateTime))
	for _, m := range c.Messages {
		fmt.Fprintf(t.out, "\n%s  %s\n%s\n", m.CreateTime.Format(time.DateTime), m.Author, m.Text)
	}
	return nil
}

// answer answers for good. The key is made of the message that is answered and the text:
// the same command again, after a cut, is the same answer and not a second one, while the
// same text is a new answer once the member has written again.
func (t *tool) answer(ctx context.Context, id, text string) error {
	text = strings.TrimSpace(text)
	read, err := t.api.AgentGetConversationWithResponse(ctx, id, nil)
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	if read.JSON200 == nil {
		return refusal(read.StatusCode(), read.Body)
	}
	answered, err := uuid.Parse(lastOfMember(read.JSON200.Conversation.Messages))
	if err != nil {
		return fmt.Errorf("reading the id of the message to answer: %w", err)
	}
	key := uuid.NewSHA1(answered, []byte(text)).String()
	answer, err := t.api.AgentPostReplyWithResponse(ctx, id,
		&api.AgentPostReplyParams{IdempotencyKey: key}, api.AgentPostReplyJSONRequestBody{Text: text, Final: true, LastMessageId: read.JSON200.Conversation.LastMessageId})
	if err != nil {
		return fmt.Errorf("answering: %w", err)
	}
	if answer.JSON200 == nil {
		return refusal(answer.StatusCode(), answer.Body)
	}
	c := answer.JSON200.Conversation
	if answer.HTTPResponse.Header.Get("Idempotent-Replayed") == "true" {
		fmt.Fprintf(t.out, "%s is %s; this answer was there already, and nothing was sent\n", c.Reference, c.Status)
		return nil
	}
	fmt.Fprintf(t.out, "%s is %s\n", c.Reference, c.Status)
	return nil
}

// lastOfMember is the id of what the member wrote last; messages come oldest first.
func lastOfMember(messages []api.MessagerieMessagingV1Message) (id string) {
	for _, m := range messages {
		if m.Author == api.MessagerieMessagingV1AuthorMEMBER {
			id = m.Id
		}
	}
	return id
}

// refusal is an error that the gateway answered. Programs compare the reason; the message
// is for developers, and changes. The request is what to ask the gateway's operators about.
func refusal(status int, body []byte) error {
	var told api.GoogleRpcStatus
	if err := json.Unmarshal(body, &told); err != nil {
		return fmt.Errorf("answered %d with something that is no error of the gateway's", status)
	}
	reason, request := "no reason given", "without a name"
	for _, detail := range told.Details {
		// A detail of a kind that is newer than this program is none of these.
		switch named, _ := detail.ValueByDiscriminator(); named := named.(type) {
		case api.GoogleRpcErrorInfo:
			reason = string(named.Reason)
		case api.GoogleRpcRequestInfo:
			request = named.RequestId
		}
	}
	return fmt.Errorf("answered %d (%s): %s (request %s)", status, reason, told.Message, request)
}
