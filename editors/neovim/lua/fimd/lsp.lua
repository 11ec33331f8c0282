--- Calls on an LSP client, the same for Neovim 0.10 (functions) and 0.11 (methods).

local M = {}

local methods = vim.fn.has('nvim-0.11') == 1

---@param client vim.lsp.Client
---@param method string
---@param params table
---@param handler fun(err: table?, result: any)
---@param buf integer
---@return integer? id
function M.request(client, method, params, handler, buf)
  local ok, id
  if methods then
    ok, id = client:request(method, params, handler, buf)
  else
    ok, id = client.request(method, params, handler, buf)
  end
  return ok and id or nil
end

---@param client vim.lsp.Client
---@param id integer
function M.cancel(client, id)
  if methods then
    client:cancel_request(id)
  else
    client.cancel_request(id)
  end
end

---@param client_id integer
---@param method string
---@param params table
function M.notify(client_id, method, params)
  local client = vim.lsp.get_client_by_id(client_id)
  if not client then
    return
  end
  if methods then
    client:notify(method, params)
  else
    client.notify(method, params)
  end
end

---@param client vim.lsp.Client
function M.stop(client)
  if methods then
    client:stop()
  else
    client.stop()
  end
end

local waiting = {} ---@type table<integer, (fun())[]> by client

--- Runs `action` once the client may send notifications.
---@param client vim.lsp.Client
---@param action fun()
function M.when_initialized(client, action)
  if client.initialized then
    action()
  else
    waiting[client.id] = waiting[client.id] or {}
    table.insert(waiting[client.id], action)
  end
end

--- The client's on_init.
---@param client vim.lsp.Client
function M.initialized(client)
  local actions = waiting[client.id] or {}
  waiting[client.id] = nil
  for _, action in ipairs(actions) do
    action()
  end
end

--- Runs a suggestion's command, which tells the daemon that it was accepted.
---@param client_id integer
---@param command table? lsp.Command
---@param buf integer
function M.execute(client_id, command, buf)
  local client = vim.lsp.get_client_by_id(client_id)
  if client and type(command) == 'table' then
    local params = { command = command.command, arguments = command.arguments }
    M.request(client, 'workspace/executeCommand', params, function() end, buf)
  end
end

return M
