//go:build tools

// Package kube names the command this module exists to build, so that
// go mod tidy keeps what it needs.
package kube

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
