package main

import (
	"context"

	"github.com/golang/protobuf/ptypes/wrappers"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// grpcPlugin is the plugin over gRPC. Its messages are protobuf's own messages for a number and for a text, so that no
// code generator is needed.
type grpcPlugin struct{ plugin.NetRPCUnsupportedPlugin }

func (*grpcPlugin) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	server.RegisterService(&service, counter{})
	return nil
}

func (*grpcPlugin) GRPCClient(
	_ context.Context, _ *plugin.GRPCBroker, connection *grpc.ClientConn,
) (interface{}, error) {
	return &grpcClient{connection}, nil
}

var service = grpc.ServiceDesc{
	ServiceName: "bench.Counter",
	HandlerType: (*Counter)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Increment", Handler: func(
			server interface{}, _ context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor,
		) (interface{}, error) {
			by := &wrappers.UInt64Value{}
			if err := decode(by); err != nil {
				return nil, err
			}
			next, err := server.(Counter).Increment(by.Value)
			return &wrappers.UInt64Value{Value: next}, err
		}},
		{MethodName: "Echo", Handler: func(
			server interface{}, _ context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor,
		) (interface{}, error) {
			text := &wrappers.StringValue{}
			if err := decode(text); err != nil {
				return nil, err
			}
			back, err := server.(Counter).Echo(text.Value)
			return &wrappers.StringValue{Value: back}, err
		}},
	},
}

type grpcClient struct{ connection *grpc.ClientConn }

func (client *grpcClient) Increment(by uint64) (uint64, error) {
	result := &wrappers.UInt64Value{}
	err := client.connection.Invoke(context.Background(), "/bench.Counter/Increment", &wrappers.UInt64Value{Value: by}, result)
	return result.Value, err
}

func (client *grpcClient) Echo(text string) (string, error) {
	result := &wrappers.StringValue{}
	err := client.connection.Invoke(context.Background(), "/bench.Counter/Echo", &wrappers.StringValue{Value: text}, result)
	return result.Value, err
}
