package client_test

import (
	"io"
	"net"
	"testing"

	"github.com/fantail-mqtt/fantail/client"
)

func TestOpenSaysNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	heard := make(chan string, 1)
	go func() { // ends with the connection, which the test closes
		conn, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		b, err := io.ReadAll(conn)
		if err != nil {
			t.Error(err)
		}
		heard <- string(b)
	}()
	conn, err := client.Open(t.Context(), client.Options{URL: "mqtt://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "what the caller says"); err != nil {
		t.Error(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if got := <-heard; got != "what the caller says" {
		t.Errorf("heard %q", got)
	}
	if _, err := client.Open(t.Context(), client.Options{URL: "gopher://somewhere"}); err == nil {
		t.Error("a scheme that nobody speaks was accepted")
	}
}
