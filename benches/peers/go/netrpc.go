package main

import (
	"net/rpc"

	"github.com/hashicorp/go-plugin"
)

// netPlugin is the plugin over net/rpc.
type netPlugin struct{}

func (*netPlugin) Server(*plugin.MuxBroker) (interface{}, error) { return &netServer{counter{}}, nil }

func (*netPlugin) Client(_ *plugin.MuxBroker, client *rpc.Client) (interface{}, error) {
	return &netClient{client}, nil
}

type netServer struct{ counter Counter }

// Increment is the method on the side of the plugin.
func (server *netServer) Increment(by uint64, result *uint64) (err error) {
	*result, err = server.counter.Increment(by)
	return err
}

// Echo is the method on the side of the plugin.
func (server *netServer) Echo(text string, result *string) (err error) {
	*result, err = server.counter.Echo(text)
	return err
}

type netClient struct{ client *rpc.Client }

func (client *netClient) Increment(by uint64) (result uint64, err error) {
	err = client.client.Call("Plugin.Increment", by, &result)
	return result, err
}

func (client *netClient) Echo(text string) (result string, err error) {
	err = client.client.Call("Plugin.Echo", text, &result)
	return result, err
}
