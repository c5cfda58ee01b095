// Command job does the main job with the client that oapi-codegen makes of the OpenAPI
// document, against GATEWAY, as the holders of MEMBER_TOKEN and AGENT_TOKEN. `make clients`
// copies it beside that client.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"client"

	"github.com/google/uuid"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := job(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// bearer signs in with a token.
func bearer(token string) client.ClientOption {
	return client.WithRequestEditorFn(func(_ context.Context, req *http.Request) error {
		req.Header.Set("Authorization", "Bearer "+token)
		return nil
	})
}

// refused is an answer that is not 200.
func refused(what string, answer *http.Response, body []byte) error {
	return fmt.Errorf("%s: %s %s", what, answer.Status, body)
}

// job prints the texts of all that the member has, once an agent has answered.
func job(ctx context.Context) error {
	jeanne, err := client.NewClientWithResponses(os.Getenv("GATEWAY"), bearer(os.Getenv("MEMBER_TOKEN")))
	if err != nil {
		return err
	}
	claire, err := client.NewClientWithResponses(os.Getenv("GATEWAY"), bearer(os.Getenv("AGENT_TOKEN")))
	if err != nil {
		return err
	}
	question, err := choose(ctx, jeanne)
	if err != nil {
		return err
	}
	submitted, err := jeanne.SubmitMessageWithResponse(ctx, &client.SubmitMessageParams{IdempotencyKey: uuid.New()}, *question)
	if err != nil {
		return err
	}
	if submitted.JSON200 == nil {
		return refused("submitting", submitted.HTTPResponse, submitted.Body)
	}
	conversation := submitted.JSON200.Conversation
	followed, err := jeanne.PostFollowUpWithResponse(ctx, conversation.Id, &client.PostFollowUpParams{IdempotencyKey: uuid.New()},
		client.PostFollowUpJSONRequestBody{Text: "Voici un complément."})
	if err != nil {
		return err
	}
	if followed.JSON200 == nil {
		return refused("following up", followed.HTTPResponse, followed.Body)
	}
	claimed, err := claire.AgentClaimConversationWithResponse(ctx, conversation.Id, nil, client.AgentClaimConversationJSONRequestBody{})
	if err != nil {
		return err
	}
	if claimed.JSON200 == nil {
		return refused("claiming", claimed.HTTPResponse, claimed.Body)
	}
	last, err := uuid.Parse(claimed.JSON200.Conversation.LastMessageId)
	if err != nil {
		return err
	}
	final := true
	replied, err := claire.AgentPostReplyWithResponse(ctx, conversation.Id, &client.AgentPostReplyParams{IdempotencyKey: uuid.New()},
		client.AgentPostReplyJSONRequestBody{Text: "Il part demain.", Final: &final, LastMessageId: last})
	if err != nil {
		return err
	}
	if replied.JSON200 == nil {
		return refused("answering", replied.HTTPResponse, replied.Body)
	}
	exported, err := jeanne.ExportMyDataWithResponse(ctx)
	if err != nil {
		return err
	}
	if exported.JSON200 == nil {
		return refused("exporting", exported.HTTPResponse, exported.Body)
	}
	for _, mine := range exported.JSON200.Conversations {
		for _, message := range mine.Messages {
			fmt.Println(message.Text)
		}
	}
	return nil
}

// choose selects the first reason that there is.
func choose(ctx context.Context, jeanne *client.ClientWithResponses) (*client.SubmitMessageJSONRequestBody, error) {
	const audience = "PARTICULIER"
	taxonomy, err := jeanne.GetTaxonomyWithResponse(ctx, &client.GetTaxonomyParams{Audience: audience})
	if err != nil {
		return nil, err
	}
	if taxonomy.JSON200 == nil {
		return nil, refused("reading the taxonomy", taxonomy.HTTPResponse, taxonomy.Body)
	}
	for _, theme := range taxonomy.JSON200.Themes {
		for _, topic := range theme.Topics {
			for _, reason := range topic.Reasons {
				return &client.SubmitMessageJSONRequestBody{
					Audience: audience, Theme: theme.Code, Topic: &topic.Code, Reason: &reason.Code,
					TaxonomyVersion: taxonomy.JSON200.Version, Text: "Bonjour, je n'ai pas reçu mon paiement.",
				}, nil
			}
		}
	}
	return nil, fmt.Errorf("nothing to choose from")
}
