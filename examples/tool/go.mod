module github.com/ma-messagerie/messagerie/examples/tool

go 1.26.0

require (
	github.com/caarlos0/env/v11 v11.4.2
	github.com/google/uuid v1.6.0
	github.com/oapi-codegen/runtime v1.9.0
	golang.org/x/oauth2 v0.37.0
)

require github.com/apapsch/go-jsonmerge/v2 v2.0.0 // indirect
