// Package daemon runs other people's servers for tests: in a temporary folder,
// as a user that is not root, and never longer than the test's process, however
// that ends. It does so on Linux.
package daemon
