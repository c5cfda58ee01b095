package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	accesspb "github.com/ma-messagerie/messagerie/proto/messagerie/access/v1"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// Rule is what the .proto says of a method, besides its request and answer.
type Rule struct {
	// Access is who may call it.
	Access accesspb.Access
	// Idempotency is what happens when a call is made twice.
	Idempotency accesspb.Idempotency
	// Scope is what the token of a machine must allow, and with ACCESS_AGENT_WITH_SCOPE that
	// of anybody but a supervisor.
	Scope string
	// Callers are the processes of this system that may call it, where it is internal.
	Callers []string
	// Ticket: a ticket may take the place of a token.
	Ticket bool
}

// RuleOf reads the rule of a method. A method that leaves something out is an error, so that
// nothing is open, or repeatable, by oversight.
func RuleOf(method protoreflect.MethodDescriptor) (Rule, error) {
	var rule Rule
	options := method.Options()
	rule.Access, _ = proto.GetExtension(options, accesspb.E_Access).(accesspb.Access)
	rule.Idempotency, _ = proto.GetExtension(options, accesspb.E_Idempotency).(accesspb.Idempotency)
	rule.Scope, _ = proto.GetExtension(options, accesspb.E_Scope).(string)
	rule.Callers, _ = proto.GetExtension(options, accesspb.E_Callers).([]string)
	rule.Ticket, _ = proto.GetExtension(options, accesspb.E_Ticket).(bool)
	internal := rule.Access == accesspb.Access_ACCESS_SERVICE
	var lacks []string
	for option, there := range map[string]bool{
		"access": rule.Access != accesspb.Access_ACCESS_UNSPECIFIED, "scope": rule.Scope != "",
		"idempotency": rule.Idempotency != accesspb.Idempotency_IDEMPOTENCY_UNSPECIFIED,
	} {
		if !there {
			lacks = append(lacks, "messagerie.access.v1."+option)
		}
	}
	slices.Sort(lacks)
	switch {
	case len(lacks) > 0:
		return rule, fmt.Errorf("method %s has no option %s", method.FullName(), strings.Join(lacks, ", "))
	case internal && len(rule.Callers) == 0:
		return rule, fmt.Errorf("method %s is internal and has no option messagerie.access.v1.callers", method.FullName())
	case !internal && len(rule.Callers) > 0:
		return rule, fmt.Errorf("method %s has callers and is not internal: callers restrict internal methods alone", method.FullName())
	case rule.Ticket && (internal || rule.Access == accesspb.Access_ACCESS_PUBLIC || !method.IsStreamingServer()):
		return rule, fmt.Errorf("method %s takes tickets, which are for people's streams alone", method.FullName())
	}
	return rule, nil
}

// Policy are the rules of methods by their full names ("/package.Service/Method").
type Policy map[string]Rule

// infrastructure are gRPC's own services, which probes and tools call without a token.
var infrastructure = map[string]bool{
	"grpc.health.v1.Health":                    true,
	"grpc.reflection.v1.ServerReflection":      true,
	"grpc.reflection.v1alpha.ServerReflection": true,
}

// PolicyOf reads the rules of services by their full names.
func PolicyOf(services ...string) (Policy, error) {
	policy := make(Policy)
	var faults []error
	for _, name := range services {
		desc, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			faults = append(faults, fmt.Errorf("service %s: %w", name, err))
			continue
		}
		service, ok := desc.(protoreflect.ServiceDescriptor)
		if !ok {
			faults = append(faults, fmt.Errorf("%s is not a service", name))
			continue
		}
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			rule, err := RuleOf(method)
			faults = append(faults, err)
			policy["/"+name+"/"+string(method.Name())] = rule
		}
	}
	return policy, errors.Join(faults...)
}

func policyOfServer(info map[string]grpc.ServiceInfo) (Policy, error) {
	var names []string
	for name := range info {
		if !infrastructure[name] {
			names = append(names, name)
		}
	}
	return PolicyOf(names...)
}

// Refusals of the guard. Their texts say nothing about the method's data.
var (
	errNoToken = Refuse(codes.Unauthenticated, errorpb.ErrorReason_TOKEN_REQUIRED, "this method needs a bearer token in the metadata authorization")
	// ErrBadToken is the refusal of a token that does not verify.
	ErrBadToken    = Refuse(codes.Unauthenticated, errorpb.ErrorReason_TOKEN_INVALID, "the bearer token is not valid here: it has lapsed, was meant for another audience, or its issuer is not accepted")
	errNoKeys      = Refuse(codes.Unavailable, errorpb.ErrorReason_ISSUER_UNAVAILABLE, "the token's issuer cannot be reached to check it; try again")
	errNoMethod    = Refuse(codes.Unimplemented, errorpb.ErrorReason_METHOD_UNKNOWN, "no such method")
	errNotYourKind = Refuse(codes.PermissionDenied, errorpb.ErrorReason_ACCESS_DENIED, "this method is not for this kind of caller")
	errNoScope     = Refuse(codes.PermissionDenied, errorpb.ErrorReason_SCOPE_MISSING, "the token does not allow this: it needs a scope that it does not have")
)

// Guard decides whether a call may go on. The gateway and the services use the
// same one, so that a rule is written once and holds at both.
type Guard struct {
	Policy   Policy
	Verifier *auth.Verifier
	// Recognise verifies tokens on public methods too: what somebody who has signed in does
	// there counts against them, and not against their address. An invalid token is ignored.
	Recognise bool
}

// recogniseTimeout bounds the verification of a token that the method does not need: the
// issuer is not waited for.
const recogniseTimeout = 50 * time.Millisecond

// recognise returns the context with the caller, if the token is good.
func (g *Guard) recognise(ctx context.Context, authorization string) context.Context {
	token, ok := Bearer(authorization)
	if !ok || !g.Recognise {
		return ctx
	}
	brief, cancel := context.WithTimeout(ctx, recogniseTimeout)
	defer cancel()
	id, err := g.Verifier.Verify(brief, token)
	if err != nil {
		return ctx
	}
	return auth.NewContext(ctx, id)
}

// Admit verifies the bearer token in an authorization value ("Bearer …", may be
// empty) and applies the method's policy. The returned context carries the
// caller, also with the refusal of one who may not call this method; the caller is
// nil for a public method called without a token, or by a Guard that does not
// [Guard.Recognise].
func (g *Guard) Admit(ctx context.Context, fullMethod, authorization string) (context.Context, error) {
	rule, ok := g.Policy[fullMethod]
	if !ok {
		return ctx, errNoMethod
	}
	if rule.Access == accesspb.Access_ACCESS_PUBLIC {
		// An expired token must not close what is open to all.
		return g.recognise(ctx, authorization), nil
	}
	token, ok := Bearer(authorization)
	if !ok {
		return ctx, errNoToken
	}
	id, err := g.Verifier.Verify(ctx, token)
	switch {
	case errors.Is(err, auth.ErrUnavailable):
		return ctx, errNoKeys.Because(err)
	case errors.Is(err, auth.ErrInvalidToken):
		return ctx, ErrBadToken.Because(err)
	case err != nil:
		return ctx, err
	}
	return auth.NewContext(ctx, id), rule.permit(id)
}

// permit returns a refusal if the caller may not call the method.
func (rule Rule) permit(id *auth.Identity) error {
	if !allowed(rule.Access, id) || len(rule.Callers) > 0 && !slices.Contains(rule.Callers, id.Client) {
		return errNotYourKind
	}
	if !rule.within(id) {
		refusal := *errNoScope
		refusal.Metadata = map[string]string{"scope": rule.Scope}
		return &refusal
	}
	return nil
}

// within reports whether the caller, who is of the right kind, has the method's scope where they
// need it: machines always, but for this system's own processes, and people for the methods
// that require it by name.
func (rule Rule) within(id *auth.Identity) bool {
	switch {
	case id.Realm == auth.RealmMachine:
		return rule.Access == accesspb.Access_ACCESS_SERVICE || slices.Contains(id.Scopes, rule.Scope)
	case rule.Access == accesspb.Access_ACCESS_AGENT_WITH_SCOPE:
		// Most issuers give people roles, and scopes to the applications that they use.
		return id.HasRole(auth.RoleSupervisor) || id.HasRole(rule.Scope) || slices.Contains(id.Scopes, rule.Scope)
	}
	return true
}

// Bearer returns the token of an authorization value, if it is of that scheme (RFC
// 6750, 2.1; the scheme's case does not count).
func Bearer(authorization string) (string, bool) {
	scheme, token, ok := strings.Cut(authorization, " ")
	token = strings.TrimSpace(token)
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != ""
}

// allowed is the access policy, scopes aside ([Rule.within]). A new kind of access without a case
// here is open to nobody.
func allowed(access accesspb.Access, id *auth.Identity) bool {
	staff := id.Realm == auth.RealmAgent || id.Realm == auth.RealmMachine
	switch access {
	case accesspb.Access_ACCESS_PUBLIC:
		return true
	case accesspb.Access_ACCESS_MEMBER:
		return id.Realm == auth.RealmMember
	case accesspb.Access_ACCESS_AGENT, accesspb.Access_ACCESS_AGENT_WITH_SCOPE:
		return staff && (id.HasRole(auth.RoleAgent) || id.Realm == auth.RealmAgent && id.HasRole(auth.RoleSupervisor))
	case accesspb.Access_ACCESS_SUPERVISOR:
		return id.Realm == auth.RealmAgent && id.HasRole(auth.RoleSupervisor)
	case accesspb.Access_ACCESS_OPERATOR:
		return staff && id.HasRole(auth.RoleOperator)
	case accesspb.Access_ACCESS_SERVICE:
		return id.Realm == auth.RealmMachine && id.HasRole(auth.RoleService)
	case accesspb.Access_ACCESS_MEMBER_OR_AGENT:
		return allowed(accesspb.Access_ACCESS_MEMBER, id) || allowed(accesspb.Access_ACCESS_AGENT, id)
	case accesspb.Access_ACCESS_UNSPECIFIED:
	}
	return false
}

// Authorization returns the authorization value of an incoming call.
func Authorization(ctx context.Context) string {
	if values := metadata.ValueFromIncomingContext(ctx, "authorization"); len(values) > 0 {
		return values[0]
	}
	return ""
}
