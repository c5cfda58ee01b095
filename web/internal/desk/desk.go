// Package desk is what the pages of agents are made of: the lists and their filters, what
// somebody quotes, a conversation with what has been typed about it, and the audit.
//
// # What is promised
//
// A list's address says all about it; a conversation's page knows the list it was opened
// from. What an agent looks for is in no address.
//
// A page says which message was its last, and that is what the act that is sent from it says
// was read: what has come since is shown, marked as new, before the same text can be sent
// again under the new page. A text that was refused, for whatever reason, is in its field
// again, also where the agent may not send it any more.
//
// An act of which nobody knows whether it was done is repeated as it was, with the same key
// and the same last message, so that it is done once. An act that was refused gets a new key.
//
// # When it breaks
//
// Nothing is kept here: what was typed is in the form, and in a draft as far as package console
// has saved one. Which services answer is decided behind the gateway; a button that is shown may
// be refused.
package desk
